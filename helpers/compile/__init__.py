"""Compiles a graph for a target: OpenVINO and TorchScript here, ATC where CANN is installed."""
