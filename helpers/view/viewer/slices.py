"""Three linked planes rendered in the kernel at full resolution: the browser only has to show an image."""

from __future__ import annotations

import io

import ipywidgets
import numpy as np

from helpers.view.palette import rgb
from helpers.view.viewer.scene import ViewState, VolumeScene

AXIAL, CORONAL, SAGITTAL = 0, 1, 2
PLANE_NAMES = ("axial", "coronal", "sagittal")
_TALLEST_PX, _WIDEST_ROW_PX = 400, 920
_SHORTEST_JPEG_PX = 320
_CROSSHAIR = np.array([255, 221, 87], np.uint16)
_REDRAWN_BY = ("position", "mode", "window", "fill_opacity", "outline_opacity", "hidden", "radiological")


class SlicePanel:
    """Axial, coronal and sagittal pictures; `widget` is what to display.

    Args:
        scene: the case.
        state: shared with the controls.
        active: whether to draw immediately; an inactive panel costs nothing until `set_active`.
    """

    def __init__(self, scene: VolumeScene, state: ViewState, active: bool = True):
        self._scene, self._state, self._active = scene, state, active
        self._titles = [ipywidgets.HTML() for _ in PLANE_NAMES]
        self._pictures = [ipywidgets.Image(format="jpeg", layout=_picture_layout(scene, plane)) for plane in range(3)]
        panels = [
            ipywidgets.VBox([title, picture], layout={"margin": "0 8px 0 0"})
            for title, picture in zip(self._titles, self._pictures, strict=True)
        ]
        self.widget = ipywidgets.HBox(panels, layout={"flex_flow": "row wrap"})
        self.widget.add_class("cookbook-slices")
        state.observe(self._redraw, names=list(_REDRAWN_BY))
        self._redraw()

    def set_active(self, active: bool) -> None:
        """Shows or hides the panel; a hidden one is not redrawn."""
        self._active = active
        self.widget.layout.display = "flex" if active else "none"
        self._redraw()

    def _redraw(self, _: object = None) -> None:
        if not self._active:
            return
        for plane, (title, picture) in enumerate(zip(self._titles, self._pictures, strict=True)):
            picture.value = encode_jpeg(render_plane(self._scene, self._state, plane))
            left, right, top, bottom = plane_letters(plane, self._state.radiological)
            title.value = (
                f"<b>{PLANE_NAMES[plane]}</b> {self._state.position[plane]}"
                f" &nbsp; <span style='color:#666'>left {left}, right {right}, top {top}, bottom {bottom}</span>"
            )


def render_plane(scene: VolumeScene, state: ViewState, plane: int) -> np.ndarray:
    """Renders the slice through the state's position, with a crosshair that leaves its centre free.

    In the axial plane the front is up, in the others the head. In the radiological convention the patient's right is
    at the left of the picture.

    Returns:
        RGB (H, W, 3) uint8.
    """
    where = tuple(state.position[plane] if axis == plane else slice(None) for axis in range(3))
    picture = np.repeat(_to_grey(scene.image[where], state.window)[..., None], 3, axis=2)
    labels = scene.labels(state.mode, where)
    rows, columns = np.nonzero(labels)
    if len(rows):  # blends labelled pixels only: most of a slice has no label
        codes, edge = labels[rows, columns], edges_of(labels)[rows, columns]
        colours = colour_table(scene, state, state.mode)[codes]
        opacity = colours[:, 3:] * np.where(edge, state.outline_opacity, state.fill_opacity)[:, None]
        blended = picture[rows, columns] * (1 - opacity) + colours[:, :3] * (255 * opacity)
        picture[rows, columns] = np.rint(blended).astype(np.uint8)
    row, column = (state.position[axis] for axis in range(3) if axis != plane)
    _draw_crosshair(picture, row, column)
    if plane != AXIAL:
        picture = picture[::-1]
    if plane != SAGITTAL and not state.radiological:
        picture = picture[:, ::-1]
    return picture


def plane_letters(plane: int, radiological: bool) -> tuple[str, str, str, str]:
    """The patient directions at the left, right, top and bottom of a plane's picture.

    >>> plane_letters(AXIAL, radiological=True)
    ('R', 'L', 'A', 'P')
    """
    if plane == SAGITTAL:
        return "A", "P", "S", "I"
    left, right = ("R", "L") if radiological else ("L", "R")
    return (left, right, "A", "P") if plane == AXIAL else (left, right, "S", "I")


def colour_table(scene: VolumeScene, state: ViewState, mode: str) -> np.ndarray:
    """(256, 4) float32 in 0 to 1: red, green and blue of each code of a mode, and 1 if it is shown, else 0."""
    table = np.zeros((256, 4), np.float32)
    for code, (_, colour) in scene.entries(mode).items():
        if state.is_shown(mode, code):
            table[code] = (*rgb(colour), 1.0)
    return table


def edges_of(labels: np.ndarray) -> np.ndarray:
    """Labelled voxels with a neighbour of another label along any axis, in a plane (H, W) or a volume (Z, Y, X).

    >>> edges_of(np.array([[0, 1, 1, 1, 0]])).astype(int).tolist()
    [[0, 1, 0, 1, 0]]
    """
    edge = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        first = tuple(slice(None, -1) if a == axis else slice(None) for a in range(labels.ndim))
        second = tuple(slice(1, None) if a == axis else slice(None) for a in range(labels.ndim))
        changes = labels[first] != labels[second]
        edge[first] |= changes
        edge[second] |= changes
    return edge & (labels > 0)


def encode_jpeg(picture: np.ndarray) -> bytes:
    """Encodes an RGB picture (H, W, 3), small ones enlarged, in a third of the time and size of a PNG."""
    from PIL import Image

    enlarge = max(1, -(-_SHORTEST_JPEG_PX // max(picture.shape[:2])))
    if enlarge > 1:
        picture = picture.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, "JPEG", quality=92, subsampling=0)
    return stream.getvalue()


def _to_grey(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    low, high = window
    grey = values.astype(np.float32)
    grey -= np.float32(low)
    grey *= np.float32(255.0 / max(high - low, 1e-6))
    np.clip(grey, 0, 255, out=grey)
    return grey.astype(np.uint8)


def _draw_crosshair(picture: np.ndarray, row: int, column: int) -> None:
    # A hairline with a gap, so that what it points at is not covered.
    gap = max(3, min(picture.shape[:2]) // 24)
    for line in (
        picture[row, : max(0, column - gap)],
        picture[row, column + gap + 1 :],
        picture[: max(0, row - gap), column],
        picture[row + gap + 1 :, column],
    ):
        line[:] = (line.astype(np.uint16) + _CROSSHAIR) // 2


def _plane_size_mm(scene: VolumeScene, plane: int) -> tuple[float, float]:
    """Height and width of a plane's picture in millimetres."""
    sides = [count * mm for count, mm in zip(scene.image.shape, scene.geometry.spacing_mm_zyx, strict=True)]
    height, width = (side for axis, side in enumerate(sides) if axis != plane)
    return height, width


def _picture_layout(scene: VolumeScene, plane: int) -> dict[str, str]:
    """The size of a plane's picture: all planes at one scale, as large as they fit in a row."""
    sizes_mm = [_plane_size_mm(scene, each) for each in (AXIAL, CORONAL, SAGITTAL)]
    px_per_mm = min(
        _TALLEST_PX / max(height for height, _ in sizes_mm), _WIDEST_ROW_PX / sum(width for _, width in sizes_mm)
    )
    height_mm, width_mm = sizes_mm[plane]
    return {"height": f"{height_mm * px_per_mm:.0f}px", "width": f"{width_mm * px_per_mm:.0f}px"}
