"""A case: its files before it is read, and its arrays after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers.data.geometry import Geometry


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case by role (`t1`, `image`, ...); `truth` is None where there is no label."""

    id: str
    files: Mapping[str, Path]
    truth: Path | None = None

    def all_paths(self) -> list[Path]:
        """Every file of the case, the truth last."""
        return [*self.files.values(), *([self.truth] if self.truth else [])]


@dataclass(frozen=True)
class Case:
    """A case that was read and checked.

    Attributes:
        image: (C, Z, Y, X) or (C, H, W), as stored.
        truth: class indices of the same spatial shape, uint8, or None.
        geometry: the grid of a volume, None for a picture.
        notes: what a recipe has to remember to write the mask back (a label convention, a padding).
    """

    id: str
    image: np.ndarray
    truth: np.ndarray | None
    geometry: Geometry | None
    notes: Mapping[str, object] = field(default_factory=dict)
