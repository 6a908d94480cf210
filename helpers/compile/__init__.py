"""Compiles a graph for a target: OpenVINO, ONNX Runtime, TorchScript, and vendors' compilers where installed."""
