"""Creates figures, lays out their pictures, and saves them as small PNGs that record where names are printed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.run.atomic import atomic_path
from helpers.view.palette import INK

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox
    from PIL.Image import Image

LARGEST_PNG_BYTES = 180_000  # with up to eight large pictures, an executed notebook stays below 3 MB
# The gid of a text that may identify a patient. The PNG records its place, so that it can be painted over.
IDENTIFYING = "identifying"
NAME_BOXES = "NameBoxes"
_PAD_IN = 0.1


def new_figure(width_in: float, height_in: float) -> Figure:
    """Creates a figure that is independent of pyplot, so that no window system or notebook hook displays it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)
    return figure


def grid_of_pictures(rows: int, columns: int, width_in: float, height_over_width: float) -> tuple[Figure, np.ndarray]:
    """Creates a grid with room for a caption above, row labels on the left and a legend below.

    Args:
        rows, columns: number of pictures.
        width_in: width of one picture in inches.
        height_over_width: aspect of one picture as displayed.

    Returns:
        The figure and its axes, (rows, columns).
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


def add_caption(figure: Figure, case_id: str, facts: str = "") -> None:
    """Writes the line above the pictures: the case's id, which may identify a patient, and facts about it."""
    height = 1 - 0.2 / figure.get_figheight()
    name = figure.text(0.01, height, case_id, fontsize=10, color=INK, va="center", fontweight="bold", gid=IDENTIFYING)
    width_px = name.get_window_extent().width
    after = 0.01 + (width_px / figure.dpi + 0.15) / figure.get_figwidth()
    figure.text(after, height, facts, fontsize=10, color=INK, va="center")


def save_figure(figure: Figure, path: Path, dpi: int = 100) -> Path:
    """Writes a PNG of at most 180 kB without a creation date, so that equal pictures are equal bytes.

    The text chunk `NameBoxes` holds the pixel boxes (left, top, right, bottom) of texts that may identify a patient,
    separated by semicolons. It is always present, and empty if there is no such text.
    """
    figure.set_dpi(dpi)
    figure.canvas.draw()
    frame = figure.get_tightbbox().padded(_PAD_IN)
    metadata = {"Software": None, NAME_BOXES: ";".join(_name_boxes(figure, frame, dpi))}
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, bbox_inches=frame, metadata=metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(shrink_png(stream.getvalue(), LARGEST_PNG_BYTES))
    return path


def encode_figure(figure: Figure) -> bytes:
    """The figure as PNG bytes, for a widget or a page that needs no file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, bbox_inches="tight")
    return stream.getvalue()


def shrink_png(content: bytes, largest_bytes: int) -> bytes:
    """Reduces a PNG to at most `largest_bytes`: fewer shades of each colour first, then fewer pixels.

    Fine texture (film grain, CT noise) does not compress. Shades are rounded per channel, which keeps every hue;
    a palette of the most frequent colours would turn the few pixels of an error grey. Text chunks are kept, with
    their boxes scaled.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngImageFile

    if len(content) <= largest_bytes:
        return content
    original = PngImageFile(io.BytesIO(content))
    width, height = original.size
    scale = 1.0
    while True:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = original.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        for shades in (52, 28):
            shrunk = _encode(picture.point(_rounding_table(shades)), original.text, scale)
            if len(shrunk) <= largest_bytes or max(size) < 64:
                return shrunk
        scale *= 0.85


def read_name_boxes(texts: Mapping[str, str]) -> list[tuple[int, int, int, int]] | None:
    """Reads the boxes from a PNG's text chunks; None if the picture does not record them."""
    if NAME_BOXES not in texts:
        return None
    boxes = []
    for box in filter(None, texts[NAME_BOXES].split(";")):
        left, top, right, bottom = (int(value) for value in box.split())
        boxes.append((left, top, right, bottom))
    return boxes


def _rounding_table(shades: int) -> list[int]:
    """A lookup table that rounds each of three channels to `shades` values, black and white included."""
    spacing = 255 / (shades - 1)
    return [round(round(value / spacing) * spacing) for value in range(256)] * 3


def _encode(picture: Image, texts: Mapping[str, str], scale: float) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, text in texts.items():
        if name == NAME_BOXES:
            boxes = read_name_boxes(texts) or []
            text = ";".join(" ".join(str(round(value * scale)) for value in box) for box in boxes)
        info.add_text(name, text)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=7, pnginfo=info)
    return stream.getvalue()


def _name_boxes(figure: Figure, frame: Bbox, dpi: int) -> list[str]:
    boxes = []
    for artist in figure.findobj(lambda artist: artist.get_gid() == IDENTIFYING):
        extent = artist.get_window_extent()
        left, right = (extent.x0 - frame.x0 * dpi, extent.x1 - frame.x0 * dpi)
        top, bottom = (frame.y1 * dpi - extent.y1, frame.y1 * dpi - extent.y0)
        # Two pixels of margin, so that no rim of a letter remains.
        boxes.append(f"{max(0, int(left) - 2)} {max(0, int(top) - 2)} {int(right) + 3} {int(bottom) + 3}")
    return boxes
