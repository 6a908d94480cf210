"""Checks the values of truth files: whole numbers, and none that the model does not know."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import DataError
from helpers.run.said import say_once

# Editors that resample a mask or store it as a scaled float leave 0.9999 for 1. A mask that was interpolated between
# classes has values far from whole numbers as well.
ROUNDING = 1e-3
_SHOWN = 8
_CHUNK = 1 << 20


@dataclass(frozen=True)
class TruthValues:
    """The values that a truth may hold.

    Attributes:
        names: the class of each value.
        ignored: values of voxels that no score counts.
    """

    names: Mapping[int, str]
    ignored: tuple[int, ...] = ()

    def __contains__(self, value: int) -> bool:
        return value in self.names or value in self.ignored

    def __str__(self) -> str:
        known = [f"{value} {name}" for value, name in self.names.items()]
        if len(known) > _SHOWN:
            known = [*known[:3], "…", known[-1]]
        return ", ".join([*known, *(f"{value} (ignored)" for value in self.ignored)])


def count_values(labels: np.ndarray) -> np.ndarray:
    """How often each value 0 to 255 occurs in uint8 labels of any shape.

    >>> count_values(np.array([[0, 1], [1, 2]], np.uint8))[:4].tolist()
    [1, 2, 1, 0]
    """
    flat = np.ascontiguousarray(labels).ravel()
    parts = (flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK))  # bincount makes 8 bytes of each
    return sum((np.bincount(part, minlength=256) for part in parts), np.zeros(256, np.int64))


def check_known(path: Path, counts: np.ndarray, known: TruthValues) -> None:
    """Refuses a truth with values that the model does not know: they would count as errors of the model.

    Args:
        path: of the truth, for the message.
        counts: how often each value 0, 1, ... occurs.
        known: the model's values.

    Raises:
        DataError: there is such a value.

    >>> check_known(Path("a.png"), np.array([7, 3]), TruthValues({0: "background", 1: "car"}))
    """
    found = np.flatnonzero(counts).tolist()
    unknown = [value for value in found if value not in known]
    if not unknown:
        return
    remedy = "Convert the labels, or leave the case out with `cases`."
    if set(found) <= {0, 255} and 1 in known:
        remedy = "This is a mask of 0 and 255: divide it by 255."
    raise DataError(
        f"{path} holds values that the model does not know",
        received=f"{_list(unknown)} (in the file: {_list(found)})",
        expected=str(known),
        remedy=remedy,
    )


def check_any_class(path: Path, found: Sequence[set[int]], known: TruthValues) -> None:
    """Refuses truths that all hold 0 and the ignored value 255 only: those are masks of 0 and 255.

    Args:
        path: of one of the truths, for the message.
        found: the values of each truth.
        known: the model's values.

    Raises:
        DataError: no truth of the data set has a class, and some have the ignored value.
    """
    values = set().union(*found)
    if 255 in known.ignored and 255 in values and values <= {0, 255}:
        raise DataError(
            "no truth holds a class, only background (0) and the ignored value (255)",
            received=f"{len(found)} files, such as {path}",
            expected=str(known),
            remedy="If these are masks of 0 and 255, convert 255 to the number of its class.",
        )


def whole_labels(path: Path, labels: np.ndarray) -> np.ndarray:
    """Labels as integers; values up to `ROUNDING` from a whole number are rounded, and the log says so.

    Args:
        path: of the labels, for messages.
        labels: of any shape and real dtype; integers are returned as they are.

    Raises:
        DataError: a value is not finite, or further from a whole number.

    >>> whole_labels(Path("mask.nii.gz"), np.array([0.0, 0.9999, 2.0])).tolist()
    [0, 1, 2]
    """
    if labels.dtype.kind in "iub":
        return labels
    rounded = np.rint(labels)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        distance = np.abs(labels - rounded)
    worst = float(distance.max(initial=0.0))
    if not worst <= ROUNDING or np.abs(rounded).max(initial=0.0) >= 2**31:
        bad = np.unique(labels[~(distance <= ROUNDING)])
        shown = ", ".join(f"{value:.6g}" for value in bad[:_SHOWN]) or f"{np.abs(rounded).max():.6g}"
        raise DataError(
            f"{path} holds values that are not class indices",
            received=shown + (", …" if len(bad) > _SHOWN else ""),
            expected=f"whole numbers, or up to {ROUNDING} from one",
            remedy="Resample the labels with nearest neighbour, or convert them to whole numbers.",
        )
    if worst:
        say_once(logging.INFO, "%s: labels rounded to whole numbers, by at most %.2g", path, worst)
    return rounded.astype(np.int32)


def class_indices(path: Path, labels: np.ndarray) -> np.ndarray:
    """Labels as uint8, after `whole_labels`.

    Raises:
        DataError: a value is not whole, or not from 0 to 255.
    """
    whole = whole_labels(path, labels)
    low, high = int(whole.min(initial=0)), int(whole.max(initial=0))
    if low < 0 or high > 255:
        raise DataError(
            f"{path} holds values that are not class indices",
            received=f"{labels.dtype} from {low} to {high}",
            expected="integers from 0 to 255",
        )
    return whole.astype(np.uint8)


def _list(values: list[int]) -> str:
    return ", ".join(map(str, values[:_SHOWN])) + (", …" if len(values) > _SHOWN else "")
