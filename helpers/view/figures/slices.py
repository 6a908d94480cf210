"""Which slices to show, and which way is right."""

from __future__ import annotations

import numpy as np

_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))  # towards smaller, towards larger, along x, y, z of the LPS space


def pick_slices(prediction: np.ndarray, truth: np.ndarray | None, count: int = 2) -> list[tuple[int, str]]:
    """Indices along Z with the reason: most error first (where there is an error), then most foreground.

    Slices lie at least four apart, so a thin volume gives fewer than `count`, but one always.
    """
    picks: list[tuple[int, str]] = []
    if truth is not None:
        errors = np.count_nonzero(prediction != truth, axis=(1, 2))
        if errors.any():
            picks.append((int(errors.argmax()), "most error"))
    shown = prediction if truth is None else np.maximum(prediction, truth)
    foreground = np.count_nonzero(shown, axis=(1, 2)).astype(np.int64)
    for index, _ in picks:
        foreground[max(0, index - 3) : index + 4] = -1
    while len(picks) < count and foreground.max() >= 0:
        index = int(foreground.argmax())
        picks.append((index, "most foreground" if foreground[index] else "no foreground"))
        foreground[max(0, index - 3) : index + 4] = -1
    return picks


def axis_letters(direction: tuple[float, ...]) -> dict[str, tuple[str, str]]:
    """For array axes x, y, z: the patient letters towards the first and the last index.

    The direction's columns are the patient directions of the array's axes (LPS: x to the left, y to the back,
    z to the head); an oblique axis gets the letter that it is nearest to.
    """
    matrix = np.array(direction, float).reshape(3, 3)
    letters = {}
    for column, name in enumerate(("x", "y", "z")):
        patient_axis = int(np.abs(matrix[:, column]).argmax())
        first, last = _LETTERS[patient_axis]
        letters[name] = (first, last) if matrix[patient_axis, column] > 0 else (last, first)
    return letters
