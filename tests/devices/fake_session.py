"""A session in numpy, for devices that behave as a test needs."""

from __future__ import annotations

import numpy as np


class FakeSession:
    """A session that answers with `answer(feeds)`; counts how often it was closed."""

    simulated, notes, torch_network = False, (), None

    def __init__(self, inputs, outputs, batches=None, max_in_flight=1):
        self.inputs, self.outputs = inputs, outputs
        self.batches, self.max_in_flight = batches, max_in_flight
        self.closed = 0

    def answer(self, feeds):
        raise NotImplementedError

    def run(self, feeds, allocate=np.empty):
        return self.answer(feeds), {}

    def close(self):
        self.closed += 1
