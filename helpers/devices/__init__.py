"""Devices: an opened compiled model that checks its feeds, pads its batches and answers in order."""

from helpers.devices.base import Device, TensorSpec
from helpers.devices.open import open_device

__all__ = ["Device", "TensorSpec", "open_device"]
