"""What compares: parity of every form of a model, precision, speed, finished runs. It uses everything."""

from helpers.study.bisect_stage import bisect_device
from helpers.study.compare_runs import Comparison, choose_runs, make_missing_runs
from helpers.study.comparison_views import (
    picture_of_scores,
    picture_of_times,
    picture_of_worst,
    show_differing_parameters,
    show_disagreements,
    show_runs,
    show_scores,
    show_times,
)
from helpers.study.parity import Agreement, check_parity, compare_outputs
from helpers.study.parity_stage import check_model_parity
from helpers.study.precision_stage import study_precisions

__all__ = [
    "Agreement",
    "Comparison",
    "bisect_device",
    "check_model_parity",
    "check_parity",
    "choose_runs",
    "compare_outputs",
    "make_missing_runs",
    "picture_of_scores",
    "picture_of_times",
    "picture_of_worst",
    "show_differing_parameters",
    "show_disagreements",
    "show_runs",
    "show_scores",
    "show_times",
    "study_precisions",
]
