"""Studies beside the benchmark, one a command: ablation, headroom, validity, task check.

Each computes and writes; the scripts of the same names parse arguments and print.
"""
