"""Static pictures, made in every run."""

from helpers.view.figures.bars import draw_case_times, draw_op_changes, draw_sizes, draw_stage_times
from helpers.view.figures.errors import draw_errors, draw_node_errors
from helpers.view.figures.gallery import draw_gallery, draw_previews
from helpers.view.figures.graph import draw_graph
from helpers.view.figures.montage import draw_montage
from helpers.view.figures.precision import draw_precision
from helpers.view.figures.relief import draw_relief, find_body
from helpers.view.figures.save import save_figure
from helpers.view.figures.strip import draw_differences, draw_scores

__all__ = [
    "draw_case_times",
    "draw_differences",
    "draw_errors",
    "draw_gallery",
    "draw_graph",
    "draw_montage",
    "draw_node_errors",
    "draw_op_changes",
    "draw_precision",
    "draw_previews",
    "draw_relief",
    "draw_scores",
    "draw_sizes",
    "draw_stage_times",
    "find_body",
    "save_figure",
]
