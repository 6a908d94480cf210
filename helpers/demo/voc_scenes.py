"""Photograph-like scenes with known masks of seven VOC classes, written in VOC's own layout.

Objects differ from what surrounds them by outline and parts alone: every colour and texture is drawn from the
same ranges for all classes, for the background and for unlabelled look-alikes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.voc import IGNORE_INDEX, IMAGES, LABELS, SPLITS, write_label
from helpers.demo.voc_shapes import OBJECTS, Shape, lookalike

#: Classes that appear in the scenes, background first.
SCENE_CLASSES = (0, *(index for index, _, _ in OBJECTS))
#: Width and height in pixels: the commonest shapes of VOC2012.
SIZES = ((500, 375), (500, 375), (500, 333), (375, 500))
_RADIUS = (60, 130)  # half an object's longest side, in pixels
_REACH = 1.6  # radii from a shape's centre to its farthest point, tilted and sheared
_OVERSAMPLING = 3


@dataclass(frozen=True)
class Scene:
    """An image (H, W, 3) uint8 RGB and its label (H, W) uint8 with 255 on a band around every object."""

    image: np.ndarray
    label: np.ndarray


def generate_scene(seed: int) -> Scene:
    """Draws one scene; the seed alone decides everything."""
    rng = np.random.default_rng(seed)
    width, height = SIZES[rng.integers(len(SIZES))]
    canvas = _background(rng, height, width)
    label = np.zeros((height, width), np.uint8)
    light = rng.uniform(0, 2 * np.pi)
    boxes: list[tuple[float, float, float]] = []
    for _ in range(rng.integers(3, 7)):
        _add(rng, canvas, label, 0, lookalike(rng), rng.uniform(-15, 15), light, boxes)
    boxes.clear()  # objects may hide look-alikes
    order = rng.permutation(len(OBJECTS))[: rng.integers(2, 5)]
    for index in order:
        number, outline, tilt = OBJECTS[index]
        _add(rng, canvas, label, number, outline(rng), rng.uniform(-tilt, tilt), light, boxes)
    return Scene(_photograph(rng, canvas), label)


def write_demo_cases(root: str | os.PathLike, seeds: Iterable[int]) -> tuple[str, ...]:
    """Writes one case a seed below `root`/VOCdevkit/VOC2012 and lists them in val.txt.

    Returns:
        The case ids in the order of the seeds: `2012_` and the seed in six digits.
    """
    from PIL import Image

    folder = Path(root) / "VOCdevkit" / "VOC2012"
    for name in (IMAGES, LABELS, SPLITS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ids = []
    for seed in seeds:
        scene, case_id = generate_scene(seed), f"2012_{seed:06d}"
        part = folder / IMAGES / f".part-{case_id}.jpg"
        Image.fromarray(scene.image).save(part, format="JPEG", quality=92)
        os.replace(part, folder / IMAGES / f"{case_id}.jpg")
        write_label(folder / LABELS / f"{case_id}.png", scene.label)
        ids.append(case_id)
    (folder / SPLITS / "val.txt").write_text("".join(f"{case_id}\n" for case_id in ids), encoding="utf-8")
    return tuple(ids)


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Two surfaces that meet at a slanting horizon, each a colour gradient under its own texture."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    horizon = height * rng.uniform(0.3, 0.7) + (columns - width / 2) * rng.uniform(-0.15, 0.15)
    horizon = horizon + 0.03 * height * _noise(rng, 1, width, 24)
    below = np.clip((rows - horizon) / 2 + 0.5, 0, 1)[..., None]
    canvas = np.zeros((height, width, 3), np.float32)
    for weight in (1 - below, below):
        blend = (rows / height)[..., None]
        surface = _colour(rng) * (1 - blend) + _colour(rng) * blend
        canvas += weight * surface * (1 + _texture(rng, height, width))[..., None]
    return canvas


def _add(rng, canvas, label, number: int, shape: Shape, tilt_deg: float, light: float, boxes: list) -> None:
    """Paints a shape where there is room, and its class into the label; leaves it out where there is none."""
    height, width = label.shape
    for _ in range(30):
        radius = rng.uniform(*_RADIUS)
        x, y = (
            rng.uniform(0.6 * radius, width - 0.6 * radius),
            rng.uniform(0.6 * radius, height - 0.6 * radius),
        )
        if all(np.hypot(x - bx, y - by) > 0.85 * (radius + br) for bx, by, br in boxes):
            break
    else:
        return
    boxes.append((x, y, radius))
    turn, flip = np.deg2rad(tilt_deg), rng.choice([-1, 1])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    squeeze = np.array([[flip * rng.uniform(0.88, 1.0), rng.uniform(-0.08, 0.08)], [0, rng.uniform(0.9, 1.0)]])
    # All painting happens in views of the square that the shape can reach.
    left, top = (max(0, int(v - _REACH * radius)) for v in (x, y))
    window = (slice(top, int(y + _REACH * radius) + 2), slice(left, int(x + _REACH * radius) + 2))
    canvas, centre = canvas[window], np.array([x - left, y - top])
    paints, shading = _paints(rng, canvas, centre), _shading(rng, canvas.shape[:2], centre, radius, light)
    silhouette = np.zeros(canvas.shape[:2], bool)
    for points, paint in shape:
        moved = points @ (radius * rotation @ squeeze).T + centre
        _paint(canvas, silhouette, moved, paints[paint], shading)
    if number:
        _mark(label[window], silhouette, number)


def _paint(canvas, silhouette, points: np.ndarray, colour: np.ndarray, shading: np.ndarray) -> None:
    from PIL import Image, ImageDraw

    height, width = silhouette.shape
    x0, y0 = np.clip(np.floor(points.min(axis=0)).astype(int) - 1, 0, (width, height))
    x1, y1 = np.clip(np.ceil(points.max(axis=0)).astype(int) + 2, 0, (width, height))
    if x1 <= x0 or y1 <= y0:
        return
    fine = Image.new("L", ((x1 - x0) * _OVERSAMPLING, (y1 - y0) * _OVERSAMPLING))
    outline = ((points - (x0, y0)) * _OVERSAMPLING).ravel().tolist()
    ImageDraw.Draw(fine).polygon(outline, fill=255)
    cover = np.asarray(fine.reduce(_OVERSAMPLING), np.float32)[..., None] / 255
    window = (slice(y0, y1), slice(x0, x1))
    canvas[window] += cover * (colour * shading[window][..., None] - canvas[window])
    silhouette[window] |= cover[..., 0] >= 0.5


def _mark(label: np.ndarray, silhouette: np.ndarray, number: int) -> None:
    """Writes the class inside and the ignore index on a band of two pixels outside and one inside."""
    from PIL import Image, ImageFilter

    whole = Image.fromarray(silhouette.astype(np.uint8) * 255)
    grown = np.asarray(whole.filter(ImageFilter.MaxFilter(5))) > 0
    core = np.asarray(whole.filter(ImageFilter.MinFilter(3))) > 0
    label[grown] = IGNORE_INDEX
    label[core] = number


def _paints(rng: np.random.Generator, canvas: np.ndarray, centre: np.ndarray) -> dict[str, np.ndarray]:
    behind = canvas[int(centre[1]), int(centre[0])]
    body = _colour(rng)
    for _ in range(6):  # an object in the colour of its background could not be seen by anyone
        if np.abs(body - behind).max() > 0.25:
            break
        body = _colour(rng)
    return {
        "body": body,
        "shade": body * rng.uniform(0.55, 0.8),
        "glass": _colour(rng),
        "dark": _colour(rng) * rng.uniform(0.15, 0.5),
        "accent": _colour(rng),
    }


def _shading(rng, size: tuple[int, int], centre: np.ndarray, radius: float, light: float) -> np.ndarray:
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    slope = (columns - centre[0]) * np.cos(light) + (rows - centre[1]) * np.sin(light)
    return 1 + 0.25 * np.clip(slope / radius, -1, 1) + _texture(rng, *size)


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Brightness changes of mean zero: grain, blotches, stripes or a soft check, sometimes mixed."""
    kind, strength = rng.integers(4), rng.uniform(0.04, 0.16)
    out = strength * _noise(rng, height, width, int(rng.integers(2, 12)))
    if kind >= 2:
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        angle, period = rng.uniform(0, np.pi), rng.uniform(6, 30)
        along = np.sin((columns * np.cos(angle) + rows * np.sin(angle)) * (2 * np.pi / period))
        if kind == 3:
            along = along * np.sin((rows * np.cos(angle) - columns * np.sin(angle)) * (2 * np.pi / period))
        out = out + rng.uniform(0.04, 0.14) * along
    return out


def _noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth noise of unit variance, roughly; `cell` is the size of its blotches in pixels."""
    from PIL import Image

    grid = rng.standard_normal((height // cell + 2, width // cell + 2), dtype=np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def _colour(rng: np.random.Generator) -> np.ndarray:
    """A colour with channels from 0 to 1: any hue, grey to strong, dim to bright."""
    hue, strength, bright = rng.uniform(0, 6), rng.uniform(0, 0.65), rng.uniform(0.25, 0.95)
    wheel = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (bright * (1 - strength * (1 - wheel))).astype(np.float32)


def _photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Lens and sensor: a slight blur, exposure and noise; (H, W, 3) uint8."""
    from PIL import Image, ImageFilter

    exposed = np.clip(canvas * rng.uniform(0.85, 1.1), 0, 1)
    image = Image.fromarray((exposed * 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.9)))
    noise = rng.standard_normal(canvas.shape, dtype=np.float32) * rng.uniform(1.5, 5)
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
