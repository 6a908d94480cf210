"""What compares: parity of every form of a model, precision, speed, finished runs. It uses everything."""

from helpers.study.bisect import bisect_device
from helpers.study.compare_runs import (
    Comparison,
    choose_runs,
    make_missing_runs,
    picture_of_scores,
    picture_of_times,
    picture_of_worst,
    show_differing_parameters,
    show_disagreements,
    show_runs,
    show_scores,
    show_times,
)
from helpers.study.precision import study_precisions

__all__ = [
    "Comparison",
    "bisect_device",
    "choose_runs",
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
