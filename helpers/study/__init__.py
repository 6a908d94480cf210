"""What compares: parity of every form of a model, precision, speed. It uses everything; nothing uses it."""

from helpers.study.bisect_stage import bisect_device
from helpers.study.parity import Agreement, check_parity, compare_outputs
from helpers.study.parity_stage import check_model_parity
from helpers.study.precision_stage import study_precisions

__all__ = [
    "Agreement",
    "bisect_device",
    "check_model_parity",
    "check_parity",
    "compare_outputs",
    "study_precisions",
]
