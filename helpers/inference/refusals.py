"""What is wrong with an answer of a device, or cannot be a mask: one sentence for each, wherever it is found."""

from __future__ import annotations

from collections.abc import Sequence

from helpers.errors import DataError, DeviceError

MOST_CLASSES = 256


def infinite_scores(where: str) -> DeviceError:
    """The refusal of scores that are NaN or infinite there."""
    remedy = "Check the input for NaN, or run in f32."
    return DeviceError(
        "the device returned scores that are not finite", received=f"NaN or infinity in {where}", remedy=remedy
    )


def refuse_other_shape(received: Sequence[int], expected: tuple[int, ...]) -> None:
    """Raises a DeviceError for scores of another shape."""
    if tuple(received) != expected:
        raise DeviceError("the device returned another shape", received=tuple(received), expected=expected)


def refuse_many_classes(classes: int) -> None:
    """Raises a DataError for more classes than a label of eight bits tells apart."""
    if classes > MOST_CLASSES:
        raise DataError("labels are bytes", received=f"{classes} classes", expected=f"at most {MOST_CLASSES}")
