"""What runs SAM's networks in place of torch: `onnx_sam`, by ONNX Runtime on CPUs."""
