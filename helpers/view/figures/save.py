"""Saves a figure as a PNG that fits a notebook and says where a name stands in it."""

from __future__ import annotations

import io
from pathlib import Path

from helpers.run.atomic import replace_when_whole

LARGEST_PNG_BYTES = 180_000  # eight of them, and the small ones, keep an executed notebook below 3 MB
# A text drawn with this gid may identify somebody; its place is kept in the PNG, so that it can be painted over.
IDENTIFIES = "identifies"
NAME_BOXES = "NameBoxes"
_PAD_IN = 0.1


def save_figure(figure, path: Path, dpi: int = 100) -> Path:
    """Writes a PNG of at most 180 kB without a creation date, so that equal pictures are equal bytes.

    The text chunk `NameBoxes` holds the pixel boxes (left, top, right, bottom) of texts that may identify
    somebody, separated by semicolons; it is there and empty where there is none.
    """
    figure.set_dpi(dpi)
    figure.canvas.draw()
    frame = figure.get_tightbbox(figure.canvas.get_renderer()).padded(_PAD_IN)
    metadata = {"Software": None, NAME_BOXES: ";".join(_name_boxes(figure, frame, dpi))}
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, bbox_inches=frame, metadata=metadata)
    with replace_when_whole(path) as temporary:
        temporary.write_bytes(shrink_png(stream.getvalue(), LARGEST_PNG_BYTES))
    return path


def shrink_png(content: bytes, largest_bytes: int) -> bytes:
    """The same picture in at most so many bytes: fewer shades of each colour first, then fewer pixels.

    Fine texture (film grain, CT noise) does not compress. Shades are rounded a channel at a time, so every hue stays:
    a palette of the most frequent colours would turn the few pixels of an error grey. Text chunks survive,
    boxes scaled.
    """
    from PIL import Image

    if len(content) <= largest_bytes:
        return content
    original = Image.open(io.BytesIO(content))
    scale = 1.0
    while True:
        size = tuple(max(1, round(side * scale)) for side in original.size)
        picture = original.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        for shades in (52, 28):
            shrunk = _encode(picture.point(_rounding(shades)), original.text, scale)
            if len(shrunk) <= largest_bytes or max(size) < 64:
                return shrunk
        scale *= 0.85


def _rounding(shades: int) -> list[int]:
    """A table that rounds each of three channels to so many shades, black and white among them."""
    step = 255 / (shades - 1)
    return [round(round(value / step) * step) for value in range(256)] * 3


def read_name_boxes(texts: dict[str, str]) -> list[tuple[int, int, int, int]] | None:
    """The boxes in a PNG's text chunks, or None where the picture does not say."""
    if NAME_BOXES not in texts:
        return None
    return [tuple(int(value) for value in box.split()) for box in texts[NAME_BOXES].split(";") if box]


def _encode(picture, texts: dict[str, str], scale: float) -> bytes:
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


def _name_boxes(figure, frame, dpi: int) -> list[str]:
    boxes = []
    for artist in figure.findobj(lambda artist: artist.get_gid() == IDENTIFIES):
        extent = artist.get_window_extent(figure.canvas.get_renderer())
        left, right = (extent.x0 - frame.x0 * dpi, extent.x1 - frame.x0 * dpi)
        top, bottom = (frame.y1 * dpi - extent.y1, frame.y1 * dpi - extent.y0)
        # Two pixels around it, so that no rim of a letter stays.
        boxes.append(f"{max(0, int(left) - 2)} {max(0, int(top) - 2)} {int(right) + 3} {int(bottom) + 3}")
    return boxes


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


def add_caption(figure, case_id: str, facts: str = "") -> None:
    """The line above the pictures: the case's name, which may identify somebody, and what is known of it."""
    height = 1 - 0.2 / figure.get_figheight()
    style = {"fontsize": 10, "color": "#222222", "ha": "left", "va": "center"}
    name = figure.text(0.01, height, case_id, fontweight="bold", gid=IDENTIFIES, **style)
    width_px = name.get_window_extent(figure.canvas.get_renderer()).width
    after = 0.01 + (width_px / figure.dpi + 0.15) / figure.get_figwidth()
    figure.text(after, height, facts, **style)
