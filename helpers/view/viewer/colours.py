"""The colour of every code, and where the outlines run."""

from __future__ import annotations

import numpy as np

from helpers.view.palette import rgb
from helpers.view.viewer.scene import VolumeScene
from helpers.view.viewer.state import ViewState


def colour_table(scene: VolumeScene, state: ViewState, mode: str) -> np.ndarray:
    """(256, 4) float32 in 0 to 1: red, green, blue of each code of a mode, and 1 where it is shown."""
    table = np.zeros((256, 4), np.float32)
    for code, (_, colour) in scene.entries(mode).items():
        if state.is_shown(mode, code):
            table[code] = (*rgb(colour), 1.0)
    return table


def edges_of(labels: np.ndarray) -> np.ndarray:
    """Labelled voxels with a neighbour of another label along any axis; for a plane (H, W) or a volume."""
    edge = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        first = tuple(slice(None, -1) if a == axis else slice(None) for a in range(labels.ndim))
        second = tuple(slice(1, None) if a == axis else slice(None) for a in range(labels.ndim))
        step = labels[first] != labels[second]
        edge[first] |= step
        edge[second] |= step
    return edge & (labels > 0)
