"""Finished planes of a volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Slab:
    """Finished planes of a volume: `scores` (classes, Z, Y, X) float32 for planes start to stop."""

    start: int
    stop: int
    scores: np.ndarray
