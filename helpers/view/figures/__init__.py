"""Static pictures, drawn in every run."""

from helpers.view.figures.canvas import save_figure
from helpers.view.figures.cases import draw_gallery, draw_montage, draw_previews, picture_to_show
from helpers.view.figures.charts import (
    draw_case_times,
    draw_differences,
    draw_errors,
    draw_node_errors,
    draw_op_changes,
    draw_scores,
    draw_sizes,
    draw_stage_times,
)
from helpers.view.figures.graph import draw_graph
from helpers.view.figures.groups import Strip, draw_groups
from helpers.view.figures.profile import draw_profile
from helpers.view.figures.relief import draw_relief, find_body

__all__ = [
    "Strip",
    "draw_case_times",
    "draw_differences",
    "draw_errors",
    "draw_gallery",
    "draw_graph",
    "draw_groups",
    "draw_montage",
    "draw_node_errors",
    "draw_op_changes",
    "draw_previews",
    "draw_profile",
    "draw_relief",
    "draw_scores",
    "draw_sizes",
    "draw_stage_times",
    "find_body",
    "picture_to_show",
    "save_figure",
]
