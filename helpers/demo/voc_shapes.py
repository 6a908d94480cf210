"""Outlines of the demo scenes' objects, as polygons in a unit frame, varied by a random generator.

A shape is a list of parts, painted in order. A part is a polygon, points (K, 2) as x to the right and y
down within about -1 to 1, and the name of its paint: `body`, `shade` (the body's colour, darker), `glass`,
`dark`, `accent`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

Part = tuple[np.ndarray, str]
Shape = list[Part]


def ellipse(x: float, y: float, rx: float, ry: float, bumps: int = 0, depth: float = 0.0) -> np.ndarray:
    """An ellipse, its rim scalloped by `bumps` of relative `depth`."""
    angle = np.linspace(0, 2 * np.pi, max(36, 8 * bumps), endpoint=False)
    radius = 1 + depth * np.abs(np.sin(bumps * angle / 2))
    return np.stack([x + rx * radius * np.cos(angle), y + ry * radius * np.sin(angle)], axis=1)


def box(x0: float, y0: float, x1: float, y1: float, round_by: float = 0.0) -> np.ndarray:
    """A rectangle with its corners cut round."""
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


#: VOC class number, outline, largest tilt in degrees.
OBJECTS: tuple[tuple[int, Callable[[np.random.Generator], Shape], float], ...] = (
    (1, aeroplane, 180.0),
    (4, boat, 10.0),
    (5, bottle, 25.0),
    (6, bus, 8.0),
    (7, car, 10.0),
    (17, sheep, 8.0),
    (20, tvmonitor, 8.0),
)


def lookalike(rng: np.random.Generator) -> Shape:
    """A thing of no class that shares paint, size and an outline with one: crates, bushes, tents, walls."""
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
