"""Carries segmentation models from a PyTorch checkpoint to masks made by an accelerator.

Importing this package imports no torch, no vendor module and no viewer.
"""

__version__ = "0.1.0"
