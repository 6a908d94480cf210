"""Inference over whole volumes by windows, streamed: no patch is written, memory does not grow with depth."""

from helpers.inference.job import InferenceJob, WindowPlan, count_samples, infer_job, infer_scores
from helpers.inference.resample import resample_slabs, resample_to_labels
from helpers.inference.scores import slab_to_labels
from helpers.inference.slabs import Slab, sliding_window, stream_slabs
from helpers.inference.window_grid import compute_steps, gaussian_profile

__all__ = [
    "InferenceJob",
    "Slab",
    "WindowPlan",
    "compute_steps",
    "count_samples",
    "gaussian_profile",
    "infer_job",
    "infer_scores",
    "resample_slabs",
    "resample_to_labels",
    "slab_to_labels",
    "sliding_window",
    "stream_slabs",
]
