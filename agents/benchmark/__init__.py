"""The benchmark of contenders: plan, run, claims, report and TensorBoard."""
