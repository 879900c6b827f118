"""Trained policies ready to deploy, as ONNX and JSON, and those that ship."""
