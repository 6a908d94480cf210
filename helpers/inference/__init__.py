"""Streaming sliding-window inference: no window is written to disk, and memory does not grow with depth."""

from helpers.inference.job import InferenceJob, infer_job, infer_scores
from helpers.inference.predictor import Predictor, as_predictor
from helpers.inference.resample import resample_slabs, resample_to_labels
from helpers.inference.scores import slab_to_labels
from helpers.inference.sliding import label_volume, sliding_window, stream_slabs
from helpers.inference.windows import Slab, WindowPlan, compute_steps, count_samples, gaussian_profile

__all__ = [
    "InferenceJob",
    "Predictor",
    "Slab",
    "WindowPlan",
    "as_predictor",
    "compute_steps",
    "count_samples",
    "gaussian_profile",
    "infer_job",
    "infer_scores",
    "label_volume",
    "resample_slabs",
    "resample_to_labels",
    "slab_to_labels",
    "sliding_window",
    "stream_slabs",
]
