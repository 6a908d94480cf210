"""Objects of a run to play with, and pictures of them: what a notebook's explore cells call.

Everything here reads the run's files and changes neither its record nor its masks. A cell may change any value and be
run again; with the run's own values the objects are those of the stages.
"""

from helpers.explore.objects import (
    around_truth,
    device_scores,
    graph_scores,
    prepared_sample,
    read_case,
    round_weights,
    segment_with,
    torch_scores,
    truth_or_empty,
)
from helpers.explore.pictures import (
    show_difference,
    show_intensities,
    show_masks,
    show_replaced,
    show_thresholds,
    show_uncertainty,
)

__all__ = [
    "around_truth",
    "device_scores",
    "graph_scores",
    "prepared_sample",
    "read_case",
    "round_weights",
    "segment_with",
    "show_difference",
    "show_intensities",
    "show_masks",
    "show_replaced",
    "show_thresholds",
    "show_uncertainty",
    "torch_scores",
    "truth_or_empty",
]
