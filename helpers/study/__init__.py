"""Compares precisions, speeds, the nodes of two models, and finished runs."""

from helpers.study.bisect import bisect_device
from helpers.study.compare_runs import (
    Comparison,
    choose_runs,
    make_missing_runs,
    plot_scores,
    plot_times,
    plot_worst_case,
    show_differing_parameters,
    show_disagreements,
    show_metrics,
    show_ranks,
    show_runs,
    show_scores,
    show_tests,
    show_times,
)
from helpers.study.groups import plot_groups, save_groups
from helpers.study.precision import study_precisions

__all__ = [
    "Comparison",
    "bisect_device",
    "choose_runs",
    "make_missing_runs",
    "plot_groups",
    "plot_scores",
    "plot_times",
    "plot_worst_case",
    "save_groups",
    "show_differing_parameters",
    "show_disagreements",
    "show_metrics",
    "show_ranks",
    "show_runs",
    "show_scores",
    "show_tests",
    "show_times",
    "study_precisions",
]
