"""Trained policies ready to deploy, as ONNX and JSON and without any pickle, and those that ship.

`bundle` reads, checks and writes them; `network` is the policy as plain numbers.
"""
