"""One slice as a picture, rendered in the kernel: full resolution in milliseconds, without matplotlib."""

from __future__ import annotations

import io

import numpy as np

from helpers.view.palette import rgb
from helpers.view.viewer.scene import ViewState, VolumeScene


def colour_table(scene: VolumeScene, state: ViewState, mode: str) -> np.ndarray:
    """(256, 4) float32 in 0 to 1: red, green, blue of each code of a mode, and 1 where it is shown."""
    table = np.zeros((256, 4), np.float32)
    for code, (_, colour) in scene.entries(mode).items():
        if state.is_shown(mode, code):
            table[code] = (*rgb(colour), 1.0)
    return table


def edges_of(labels: np.ndarray) -> np.ndarray:
    """Labelled voxels with a neighbour of another label along any axis; for a plane (H, W) or a volume."""
    edge = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        first = tuple(slice(None, -1) if a == axis else slice(None) for a in range(labels.ndim))
        second = tuple(slice(1, None) if a == axis else slice(None) for a in range(labels.ndim))
        step = labels[first] != labels[second]
        edge[first] |= step
        edge[second] |= step
    return edge & (labels > 0)


AXIAL, CORONAL, SAGITTAL = 0, 1, 2
PLANE_NAMES = ("axial", "coronal", "sagittal")
_CROSSHAIR = np.array([255, 221, 87], np.uint16)
_SHORTEST_SHOWN = 320


def plane_letters(plane: int, radiological: bool) -> tuple[str, str, str, str]:
    """Patient directions at the left, right, top and bottom of a plane's picture."""
    if plane == SAGITTAL:
        return "A", "P", "S", "I"
    left, right = ("R", "L") if radiological else ("L", "R")
    return (left, right, "A", "P") if plane == AXIAL else (left, right, "S", "I")


def render_plane(scene: VolumeScene, state: ViewState, plane: int) -> np.ndarray:
    """The slice through the state's position as RGB (H, W, 3) uint8, with a crosshair that leaves its middle free.

    Axial: the front is up. Coronal and sagittal: the head is up. The patient's right is at the picture's left in
    the radiological convention.
    """
    where = tuple(state.position[plane] if axis == plane else slice(None) for axis in range(3))
    picture = np.repeat(_grey(scene.image[where], state.window)[..., None], 3, axis=2)
    labels = scene.labels(state.mode, where)
    rows, columns = np.nonzero(labels)
    if len(rows):  # only what is labelled is blended: most of a slice is not
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


def plane_size_mm(scene: VolumeScene, plane: int) -> tuple[float, float]:
    """Height and width of a plane's picture in millimetres."""
    sides = [count * mm for count, mm in zip(scene.image.shape, scene.geometry.spacing_mm_zyx, strict=True)]
    height, width = (side for axis, side in enumerate(sides) if axis != plane)
    return height, width


def encode_jpeg(picture: np.ndarray) -> bytes:
    """JPEG of high quality with whole colours: a third of a PNG's time and bytes for what a slider shows once."""
    from PIL import Image

    enlarge = max(1, -(-_SHORTEST_SHOWN // max(picture.shape[:2])))
    if enlarge > 1:
        picture = picture.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, "JPEG", quality=92, subsampling=0)
    return stream.getvalue()


def _grey(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    low, high = window
    grey = values.astype(np.float32)
    grey -= np.float32(low)
    grey *= np.float32(255.0 / max(high - low, 1e-6))
    np.clip(grey, 0, 255, out=grey)
    return grey.astype(np.uint8)


def _draw_crosshair(picture: np.ndarray, row: int, column: int) -> None:
    # A hairline with a gap, so that what is looked at is not covered.
    gap = max(3, min(picture.shape[:2]) // 24)
    for line in (
        picture[row, : max(0, column - gap)],
        picture[row, column + gap + 1 :],
        picture[: max(0, row - gap), column],
        picture[row + gap + 1 :, column],
    ):
        line[:] = (line.astype(np.uint16) + _CROSSHAIR) // 2
