"""Saves a figure as a PNG that fits a notebook."""

from __future__ import annotations

from pathlib import Path


def save_figure(figure, path: Path, dpi: int = 100) -> Path:
    """Writes a PNG without a creation date, so that equal pictures are equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi, bbox_inches="tight", metadata={"Software": None})
    return path


def new_figure(width_in: float, height_in: float):
    """A figure that no window system and no notebook hook knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)
    return figure


def grid_of_pictures(rows: int, columns: int, width_in: float, height_over_width: float):
    """A figure and its axes (rows, columns), with room for a caption above, row labels left and a legend below.

    Args:
        rows, columns: of pictures.
        width_in: of one picture, in inches.
        height_over_width: of one picture as it is shown.
    """
    left_in, top_in, bottom_in, gap_in = 0.3, 0.62, 0.42, 0.05
    height_in = width_in * height_over_width
    total_width = left_in + columns * (width_in + gap_in)
    total_height = top_in + bottom_in + rows * (height_in + gap_in)
    figure = new_figure(total_width, total_height)
    edges = {"left": left_in / total_width, "right": 1.0, "top": 1 - top_in / total_height}
    spaces = {"wspace": gap_in / width_in, "hspace": gap_in / height_in}
    axes = figure.subplots(
        rows, columns, squeeze=False, gridspec_kw={**edges, **spaces, "bottom": bottom_in / total_height}
    )
    return figure, axes


def add_caption(figure, text: str) -> None:
    """The line above the pictures."""
    figure.text(0.01, 1 - 0.2 / figure.get_figheight(), text, fontsize=10, color="#222222", ha="left", va="center")
