"""Infers a batch of windows under every mirror and averages the scores."""

from __future__ import annotations

from functools import partial

import numpy as np

from helpers.inference.activation import ACTIVATIONS
from helpers.inference.refusals import refuse_other_shape
from helpers.inference.window_grid import mirror_combinations

Calls = list[tuple[tuple[int, ...], object]]


class MirroredCall:
    """Starts and collects the calls of one batch.

    Args:
        infer: the network, with or without `submit` and `max_in_flight`.
        flat: windows are slices; the network knows no Z.
        classes: channels that the scores must have.
        axes: spatial axes of the window to mirror, 0 the first.
        activation: applied to each mirror's scores before they are averaged.
    """

    def __init__(self, infer, flat: bool, classes: int, axes: tuple[int, ...], activation: str | None):
        submit = getattr(infer, "submit", None)
        self._begin = (lambda view: submit(np.ascontiguousarray(view))) if submit else partial(_Later, infer)
        self.max_in_flight = getattr(infer, "max_in_flight", 1) if submit else 0
        self._flat, self._classes = flat, classes
        self._activate = ACTIVATIONS[activation]
        self._flips = mirror_combinations(axes)

    def start(self, batch: np.ndarray) -> Calls:
        """Starts one call a mirror for windows (N, C, *window)."""
        batch = batch[:, :, 0] if self._flat else batch
        return [(axes, self._begin(np.flip(batch, axes))) for axes in self._flips]

    def collect(self, calls: Calls, shape: tuple[int, ...]) -> np.ndarray:
        """Scores (N, classes, *window) once all mirrors are done.

        Raises:
            DeviceError: the scores have another shape.
        """
        total: np.ndarray | None = None
        expected = (shape[0], self._classes, *shape[2:])
        for axes, future in calls:
            scores = future.result()
            scores = scores[:, :, None] if self._flat else scores
            refuse_other_shape(scores.shape, expected)
            shifted = tuple(axis + 1 for axis in axes) if self._flat else axes
            scores = np.flip(self._activate(scores), shifted)
            total = scores if total is None else total + scores
        return total if len(calls) == 1 else total / np.float32(len(calls))


class _Later:
    """Infers when asked for the result, so that one mirror's scores are alive at a time."""

    def __init__(self, infer, view: np.ndarray):
        self._infer, self._view = infer, view

    def result(self) -> np.ndarray:
        flipped = any(stride < 0 for stride in self._view.strides)  # which torch does not take
        return self._infer(self._view.copy() if flipped else self._view)
