"""Inference over whole volumes by windows, streamed: no patch is written, memory does not grow with depth."""

from helpers.inference.labels import slab_to_labels
from helpers.inference.resample import resample_slabs, resample_to_labels
from helpers.inference.slabs import Slab, sliding_window, stream_slabs
from helpers.inference.window_grid import compute_steps, gaussian_profile

__all__ = [
    "Slab",
    "compute_steps",
    "gaussian_profile",
    "resample_slabs",
    "resample_to_labels",
    "slab_to_labels",
    "sliding_window",
    "stream_slabs",
]
