"""Static pictures, made in every run."""

from helpers.view.figures.bars import draw_stage_times
from helpers.view.figures.gallery import draw_gallery
from helpers.view.figures.graph import draw_graph
from helpers.view.figures.montage import draw_montage
from helpers.view.figures.relief import draw_relief, find_body
from helpers.view.figures.save import save_figure
from helpers.view.figures.strip import draw_scores
from helpers.view.figures.throughput import draw_throughput

__all__ = [
    "draw_gallery",
    "draw_graph",
    "draw_montage",
    "draw_relief",
    "draw_scores",
    "draw_stage_times",
    "draw_throughput",
    "find_body",
    "save_figure",
]
