"""The ONNX graph between a checkpoint and a compiler: export, simplify, rewrite, inspect, lint."""
