"""Studies beside the benchmark: the demo, ablations and the headroom of settings."""
