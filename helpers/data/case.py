"""A case of a data set: its files, and the arrays read from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers.data.geometry import Geometry
from helpers.errors import DataError


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case by role (`t1`, `image`, ...); `truth` is None if there is no label.

    `notes` holds what decides, besides the contents, how the files are read; it is part of the case's digest.
    """

    id: str
    files: Mapping[str, Path]
    truth: Path | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses an id that is not a plain file name: masks, figures and records are named after it."""
        if self.id in ("", ".", "..") or {"/", "\0"} & set(self.id):
            raise DataError(
                "a case's name cannot name its mask",
                received=repr(self.id),
                expected="a name without slashes",
                remedy="Rename the case in its data set.",
            )

    def all_paths(self) -> list[Path]:
        """Every file of the case, the truth last."""
        return [*self.files.values(), *([self.truth] if self.truth else [])]


@dataclass(frozen=True)
class Case:
    """A case as read and checked.

    Attributes:
        image: (C, Z, Y, X) or (C, H, W), as stored.
        truth: class indices of the same spatial shape, uint8, or None.
        geometry: the grid of a volume; None for a picture.
        notes: facts that are needed to write a mask, such as the label convention.
        previous: class indices (Z, Y, X) of an earlier stage of a cascade, a further input of the network.
        remarks: what the user should know about the case, in the table of the data.
        prediction: class indices of the run's mask, for scores that compare it with others; else None.
    """

    id: str
    image: np.ndarray
    truth: np.ndarray | None
    geometry: Geometry | None
    notes: Mapping[str, object] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    prediction: np.ndarray | None = None
    previous: np.ndarray | None = None

    def require_truth(self) -> np.ndarray:
        """The truth.

        Raises:
            DataError: the case has none.
        """
        if self.truth is None:
            raise DataError(f"case {self.id} has no truth")
        return self.truth

    def require_geometry(self) -> Geometry:
        """The grid of a volume.

        Raises:
            DataError: the case is a picture.
        """
        if self.geometry is None:
            raise DataError(f"case {self.id} is a picture, not a volume")
        return self.geometry
