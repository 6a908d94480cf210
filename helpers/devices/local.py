"""A device whose runtime lives in this process."""

from __future__ import annotations

import numpy as np

from helpers.devices.base import Device, TensorSpec
from helpers.devices.faults import device_error


class LocalDevice(Device):
    """Wraps a session of `helpers.devices.sessions`.

    Attributes:
        torch_network: (module, torch's device, autocast dtype) of a network on a GPU, else None.
    """

    def __init__(self, session, output_batch_axis: int = 0):
        super().__init__(output_batch_axis)
        self._session = session
        self.inputs = tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in session.inputs)
        self.outputs = tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in session.outputs)
        self.batches = None if session.batches is None else tuple(sorted(session.batches))
        self.max_in_flight = session.max_in_flight
        self.simulated = bool(getattr(session, "simulated", False))
        self.torch_network = getattr(session, "torch_network", None)
        for note in getattr(session, "notes", ()):
            self._note(note)

    def _run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return self._session.run(feeds)
        except Exception as error:  # ONNX Runtime's errors derive from Exception alone
            text = str(error) or type(error).__name__
            raise device_error("the device failed", text, getattr(error, "kind", None)) from error

    def _close(self) -> None:
        self._session.close()
