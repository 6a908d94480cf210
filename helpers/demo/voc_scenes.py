"""Demo cases in VOC's layout with known masks: photograph-like scenes with objects of seven classes.

Objects differ from their surroundings only in outline and parts: colours and textures come from the same ranges for
all classes, the background and unlabelled look-alikes.

An object is a list of parts, painted in order. A part is a polygon, points (K, 2) as x to the right and y down
within about -1 to 1, and the name of its paint: `body`, `shade` (a darker body), `glass`, `dark` or `accent`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from helpers.data.voc import IGNORE_INDEX, IMAGES, LABELS, SPLITS, write_label

Part = tuple[np.ndarray, str]
Shape = list[Part]
# Width and height in pixels: the most common sizes of VOC2012.
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
    """Draws one scene; the same seed gives the same scene."""
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
    """Writes one case per seed below `root`/VOCdevkit/VOC2012 and lists them in val.txt.

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


def _add(
    rng: np.random.Generator,
    canvas: np.ndarray,
    label: np.ndarray,
    number: int,
    shape: Shape,
    tilt_deg: float,
    light: float,
    boxes: list[tuple[float, float, float]],
) -> None:
    """Paints a shape at a free place and its class into the label; skips it if there is no room."""
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
    # Painting is limited to the square that the shape can reach.
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


def _paint(
    canvas: np.ndarray, silhouette: np.ndarray, points: np.ndarray, colour: np.ndarray, shading: np.ndarray
) -> None:
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
    for _ in range(6):  # an object with the colour of its background would be invisible
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


def _shading(
    rng: np.random.Generator, size: tuple[int, ...], centre: np.ndarray, radius: float, light: float
) -> np.ndarray:
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    slope = (columns - centre[0]) * np.cos(light) + (rows - centre[1]) * np.sin(light)
    return 1 + 0.25 * np.clip(slope / radius, -1, 1) + _texture(rng, size[0], size[1])


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


def ellipse(x: float, y: float, rx: float, ry: float, bumps: int = 0, depth: float = 0.0) -> np.ndarray:
    """An ellipse, its rim scalloped by `bumps` of relative `depth`."""
    angle = np.linspace(0, 2 * np.pi, max(36, 8 * bumps), endpoint=False)
    radius = 1 + depth * np.abs(np.sin(bumps * angle / 2))
    return np.stack([x + rx * radius * np.cos(angle), y + ry * radius * np.sin(angle)], axis=1)


def box(x0: float, y0: float, x1: float, y1: float, round_by: float = 0.0) -> np.ndarray:
    """A rectangle with rounded corners."""
    r = round_by
    if r == 0:
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    corners = ((x1 - r, y0 + r, -0.5), (x1 - r, y1 - r, 0.0), (x0 + r, y1 - r, 0.5), (x0 + r, y0 + r, 1.0))
    turn = np.linspace(0, 0.5, 6) * np.pi
    points = [(x + r * np.cos(turn + start * np.pi), y + r * np.sin(turn + start * np.pi)) for x, y, start in corners]
    return np.concatenate([np.stack(p, axis=1) for p in points])


def aeroplane(rng: np.random.Generator) -> Shape:
    """From above: fuselage, swept wings, tail plane and engines."""
    sweep, span, root = rng.uniform(0.15, 0.5), rng.uniform(0.75, 1.0), rng.uniform(0.26, 0.36)
    slim, place = rng.uniform(0.11, 0.15), rng.uniform(-0.05, 0.15)
    parts: Shape = []
    for side in (-1, 1):
        tip = [(place + sweep + 0.16, side * span), (place + sweep, side * span)]
        parts.append((np.array([(place - root / 2, 0), (place + root / 2 + 0.1, 0), *tip]), "shade"))
        tail = [(0.96, side * 0.4), (0.85, side * 0.4)]
        parts.append((np.array([(0.66, 0), (0.9, 0), *tail]), "shade"))
        engine_x = place + sweep * 0.4
        parts.append((ellipse(engine_x - 0.05, side * span * 0.42, 0.13, 0.055), "dark"))
    parts.append((ellipse(0, 0, 1, slim), "body"))
    parts.append((ellipse(-0.84, 0, 0.07, slim * 0.5), "glass"))
    parts += [(ellipse(x, 0, 0.022, slim * 0.75), "accent") for x in np.linspace(-0.6, 0.55, 8)]
    return parts


def boat(rng: np.random.Generator) -> Shape:
    """A hull with a mast and two sails."""
    deck, mast, lean = rng.uniform(0.4, 0.55), rng.uniform(-0.15, 0.15), rng.uniform(0.08, 0.3)
    back, front = rng.uniform(0.6, 0.9), rng.uniform(0.5, 0.85)
    hull = [(-1, deck), (1, deck), (1 - lean, 0.92), (-1 + lean * 1.4, 0.92)]
    return [
        (box(mast - 0.04, -1, mast + 0.04, deck), "dark"),
        (np.array([(mast + 0.05, -0.95), (mast + back, deck - 0.12), (mast + 0.05, deck - 0.12)]), "accent"),
        (np.array([(mast - 0.05, -0.8), (mast - front, deck - 0.12), (mast - 0.05, deck - 0.12)]), "body"),
        (np.array(hull), "body"),
        (np.array([(-1, deck), (1, deck), (0.97, deck + 0.12), (-0.97, deck + 0.12)]), "dark"),
        *((ellipse(x, 0.73, 0.05, 0.05), "glass") for x in (-0.45, -0.15, 0.15, 0.45)),
    ]


def bottle(rng: np.random.Generator) -> Shape:
    """Upright: body, sloping shoulder, neck, cap and label."""
    wide, neck = rng.uniform(0.26, 0.36), rng.uniform(0.09, 0.13)
    shoulder, top = rng.uniform(-0.3, -0.1), rng.uniform(-0.62, -0.5)
    label = rng.uniform(0.1, 0.25)
    outline = [(-neck, -0.9), (neck, -0.9), (neck, top), (wide, shoulder), (wide, 1), (-wide, 1)]
    return [
        (np.array([*outline, (-wide, shoulder), (-neck, top)]), "body"),
        (box(-neck * 1.25, -1, neck * 1.25, -0.84, 0.03), "dark"),
        (box(-wide, label, wide, label + rng.uniform(0.35, 0.5)), "accent"),
        (box(wide * 0.45, shoulder + 0.08, wide * 0.65, 0.95, 0.02), "glass"),
    ]


def bus(rng: np.random.Generator) -> Shape:
    """From the side: a long high box with a row of windows, a door and two wheels."""
    high, count, wheel = rng.uniform(0.42, 0.52), int(rng.integers(4, 7)), rng.uniform(0.12, 0.15)
    low = high - 0.1
    edges = np.linspace(-0.93, 0.62, count + 1)
    sill = rng.uniform(-0.05, 0.05)
    windows = [(box(a + 0.03, -high + 0.1, b - 0.03, sill), "glass") for a, b in pairwise(edges)]
    wheels = [rng.uniform(-0.68, -0.55), rng.uniform(0.42, 0.55)]
    return [
        (box(-1, -high, 1, low, 0.09), "body"),
        (box(-1, sill + 0.1, 1, sill + 0.18), "accent"),
        *windows,
        (box(0.68, -high + 0.12, 0.93, low - 0.03), "glass"),
        (box(0.795, -high + 0.12, 0.815, low - 0.03), "dark"),
        *((ellipse(x, low, wheel, wheel), "dark") for x in wheels),
        *((ellipse(x, low, wheel * 0.45, wheel * 0.45), "accent") for x in wheels),
    ]


def car(rng: np.random.Generator) -> Shape:
    """From the side: a low body, a cabin with two windows and two wheels."""
    roof, belt, wheel = rng.uniform(-0.5, -0.4), rng.uniform(-0.1, -0.02), rng.uniform(0.17, 0.21)
    rear, front = rng.uniform(-0.75, -0.55), rng.uniform(0.35, 0.55)
    inset = rng.uniform(0.18, 0.3)
    cabin = [(rear, belt), (rear + inset, roof), (front - inset, roof), (front, belt)]
    middle = (rear + front) / 2
    top, bottom = roof + 0.07, belt - 0.01
    return [
        (np.array(cabin), "body"),
        (box(-1, belt - 0.02, 1, 0.34, 0.12), "body"),
        (
            np.array(
                [
                    (rear + 0.12, bottom),
                    (rear + inset + 0.02, top),
                    (middle - 0.03, top),
                    (middle - 0.03, bottom),
                ]
            ),
            "glass",
        ),
        (
            np.array(
                [
                    (middle + 0.03, bottom),
                    (middle + 0.03, top),
                    (front - inset - 0.02, top),
                    (front - 0.12, bottom),
                ]
            ),
            "glass",
        ),
        (box(-0.98, 0.16, 0.98, 0.2), "shade"),
        (ellipse(0.92, belt + 0.12, 0.06, 0.05), "accent"),
        *((ellipse(x, 0.32, wheel, wheel), "dark") for x in (-0.57, 0.57)),
        *((ellipse(x, 0.32, wheel * 0.5, wheel * 0.5), "accent") for x in (-0.57, 0.57)),
    ]


def sheep(rng: np.random.Generator) -> Shape:
    """From the side: a scalloped body on four legs, with a head, an ear and an eye."""
    high, bumps = rng.uniform(0.42, 0.52), int(rng.integers(11, 16))
    head_x, head_y = rng.uniform(-0.82, -0.72), rng.uniform(-0.35, 0.0)
    parts: Shape = []
    for x in (-0.4, -0.2, 0.3, 0.52):
        at = x + rng.uniform(-0.05, 0.05)
        parts.append((box(at - 0.06, 0.1, at + 0.06, rng.uniform(0.78, 0.88)), "dark"))
    parts.append((ellipse(0.08, -0.08, 0.72, high, bumps, 0.14), "body"))
    for _ in range(9):
        x, y = rng.uniform(-0.4, 0.55), rng.uniform(-0.35, 0.2)
        parts.append((ellipse(x, y, 0.1, 0.06, 5, 0.3), "shade"))
    parts.append((ellipse(head_x, head_y, 0.24, 0.17), "dark"))
    parts.append((ellipse(head_x + 0.18, head_y - 0.1, 0.12, 0.06), "accent"))
    parts.append((ellipse(head_x - 0.06, head_y - 0.05, 0.035, 0.035), "glass"))
    return parts


def tvmonitor(rng: np.random.Generator) -> Shape:
    """A screen in a frame, with a picture on it, on a foot."""
    wide, high, frame = rng.uniform(0.8, 1.0), rng.uniform(0.5, 0.65), rng.uniform(0.07, 0.12)
    low, foot = high - 0.2, rng.uniform(0.3, 0.5)
    hill = [
        (-wide + frame, low - frame),
        (-0.3, -0.15),
        (0.0, 0.1),
        (0.35, -0.25),
        (wide - frame, low - frame),
    ]
    return [
        (box(-0.09, low - 0.02, 0.09, low + 0.26), "shade"),
        (box(-foot, low + 0.22, foot, low + 0.34, 0.05), "body"),
        (box(-wide, -high - 0.1, wide, low, 0.06), "body"),
        (box(-wide + frame, -high - 0.1 + frame, wide - frame, low - frame), "glass"),
        (np.array(hill), "accent"),
        (ellipse(wide - frame - 0.2, -high + 0.18, 0.09, 0.09), "dark"),
    ]


def lookalike(rng: np.random.Generator) -> Shape:
    """An unlabelled object with paint, size and outline like those of the classes: crates, bushes, tents, walls."""
    kind = int(rng.integers(0, 6))
    wide, high = rng.uniform(0.4, 1.0), rng.uniform(0.4, 0.9)
    if kind == 0:
        return [(box(-wide, -high, wide, high, 0.05), "body"), (box(-wide, -0.06, wide, 0.06), "accent")]
    if kind == 1:
        return [(ellipse(0, 0, wide, high * 0.7, 9, 0.12), "body"), (ellipse(0.1, 0.1, 0.2, 0.15), "shade")]
    if kind == 2:
        return [
            (np.array([(0, -high), (wide, high), (-wide, high)]), "body"),
            (np.array([(0, -high), (0.25, high), (-0.1, high)]), "dark"),
        ]
    if kind == 3:
        columns = np.linspace(-wide, wide, 4)
        panes = [(box(x + 0.08, y, x + 0.26, y + 0.22), "glass") for x in columns[:-1] for y in (-0.75, -0.35, 0.05)]
        return [(box(-wide, -0.95, wide, 0.95), "body"), *panes]
    if kind == 4:
        return [
            (ellipse(0, 0, wide * 0.8, wide * 0.8), "dark"),
            (ellipse(0, 0, wide * 0.4, wide * 0.4), "accent"),
        ]
    return [(box(-0.12, -1, 0.12, 1, 0.05), "body"), (box(-0.12, -0.3, 0.12, 0.0), "dark")]


#: VOC class number, outline, maximum tilt in degrees.
OBJECTS: tuple[tuple[int, Callable[[np.random.Generator], Shape], float], ...] = (
    (1, aeroplane, 180.0),
    (4, boat, 10.0),
    (5, bottle, 25.0),
    (6, bus, 8.0),
    (7, car, 10.0),
    (17, sheep, 8.0),
    (20, tvmonitor, 8.0),
)


#: Classes that appear in the scenes, background first.
SCENE_CLASSES = (0, *(index for index, _, _ in OBJECTS))
