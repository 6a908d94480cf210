"""A car made of shaded polygons: a side profile swept across the width, with glass, lamps, wheels and seams.

The car's frame is x forward, y to the left, z up, in metres; the ground is z = 0 and the car's middle x = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.interpolate import PchipInterpolator

PAINTS = np.array([
    [0.92, 0.92, 0.9], [0.72, 0.73, 0.75], [0.42, 0.43, 0.45], [0.09, 0.09, 0.1], [0.16, 0.17, 0.2],
    [0.62, 0.08, 0.09], [0.1, 0.17, 0.45], [0.35, 0.5, 0.72], [0.1, 0.3, 0.2], [0.55, 0.5, 0.4],
    [0.75, 0.35, 0.08], [0.82, 0.7, 0.18], [0.35, 0.2, 0.14], [0.55, 0.62, 0.58],
])  # fmt: skip
_RUBBER, _GLASS = np.array([0.05, 0.05, 0.055]), np.array([0.1, 0.12, 0.14])
_FRONT_LAMP, _REAR_LAMP, _PLATE = np.array([0.88, 0.88, 0.85]), np.array([0.6, 0.05, 0.06]), np.full(3, 0.89)


@dataclass(frozen=True)
class _Kind:
    # Profile from tail to nose: x as a share of the half length, z as a share of the height.
    size_m: tuple[float, float, float]
    x: tuple[float, ...]
    z: tuple[float, ...]
    cowl: float
    roof_front: float
    roof_rear: float
    deck: float


_KINDS = {
    "sedan": _Kind((4.75, 1.45, 1.84), (-1, -0.97, -0.68, -0.34, -0.1, 0.12, 0.48, 0.9, 1),
                   (0.46, 0.68, 0.74, 0.97, 1, 0.97, 0.7, 0.58, 0.4), 0.46, 0.12, -0.36, -0.66),
    "hatch": _Kind((4.15, 1.48, 1.78), (-1, -0.98, -0.78, -0.3, 0.1, 0.5, 0.9, 1),
                   (0.42, 0.62, 0.93, 1, 0.98, 0.7, 0.6, 0.42), 0.49, 0.13, -0.74, -0.975),
    "suv": _Kind((4.6, 1.72, 1.9), (-1, -0.98, -0.88, -0.3, 0.12, 0.46, 0.92, 1),
                 (0.4, 0.66, 0.94, 1, 0.98, 0.72, 0.66, 0.44), 0.45, 0.15, -0.86, -0.978),
    "coupe": _Kind((4.5, 1.36, 1.86), (-1, -0.97, -0.8, -0.3, -0.12, 0.05, 0.4, 0.9, 1),
                   (0.5, 0.72, 0.77, 0.98, 1, 0.96, 0.7, 0.57, 0.4), 0.38, 0.04, -0.32, -0.76),
    "van": _Kind((4.8, 1.85, 1.95), (-1, -0.99, -0.95, -0.2, 0.4, 0.72, 0.93, 1),
                 (0.36, 0.7, 0.97, 1, 0.97, 0.62, 0.5, 0.34), 0.7, 0.42, -0.95, -0.99),
}  # fmt: skip


@dataclass(frozen=True)
class Face:
    """A flat polygon: points (K, 3) in metres, colour (3,) in 0..1."""

    points: np.ndarray
    colour: np.ndarray


class CarBody:
    """The dimensions (in metres), the outline and the paint of a random car."""

    def __init__(self, random: np.random.Generator) -> None:
        name = str(random.choice(list(_KINDS)))
        kind = _KINDS[name]
        self.length, self.height, self.width = np.array(kind.size_m) * random.uniform(0.94, 1.06, 3)
        profile = np.array([kind.x, kind.z])
        profile[:, 2:-2] += random.uniform(-0.012, 0.012, (2, len(kind.x) - 4))
        self.top = PchipInterpolator(profile[0] * self.length / 2, profile[1] * self.height)
        marks = np.array([kind.cowl, kind.roof_front, kind.roof_rear, kind.deck]) * self.length / 2
        self.cowl, self.roof_front, self.roof_rear, self.deck = marks
        self.sill = random.uniform(0.2, 0.28) + (0.06 if name == "suv" else 0)
        self.belt = self.height * random.uniform(0.62, 0.66)
        self.paint = np.clip(PAINTS[random.integers(len(PAINTS))] + random.normal(0, 0.03, 3), 0.03, 0.96)
        self.gloss = random.uniform(0.25, 0.6)
        self.rim = np.full(3, random.choice([0.72, 0.6, 0.25, 0.1]))
        self.spokes = int(random.integers(5, 11))
        self.wheel_radius = random.uniform(0.32, 0.37)
        self.axles = self.length * np.array([-random.uniform(0.27, 0.3), random.uniform(0.29, 0.32)])

    def half_width(self, x: np.ndarray) -> np.ndarray:
        """Half the width at stations x, narrowing towards both ends."""
        return self.width / 2 * (1 - 0.2 * np.abs(2 * x / self.length) ** 5)

    def side_y(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Distance of the side from the middle plane: bulging below the belt line, leaning inwards above it."""
        half = self.half_width(x)
        bulge = half * (1 - 0.1 * ((z - 0.58) / 0.5) ** 2)
        belt = half * (1 - 0.1 * ((self.belt - 0.58) / 0.5) ** 2)
        return np.where(z < self.belt, bulge, belt - 0.42 * (z - self.belt))

    def hull(self, eye: np.ndarray) -> list[Face]:
        """The painted body as seen from a point (3,), the farthest faces first."""
        x = self.length / 2 * np.sin(np.linspace(-np.pi / 2, np.pi / 2, 97))
        top = self.top(x)
        heights = [self.sill + share * (top - 0.03 - self.sill) for share in np.linspace(0, 1, 21)]
        rows = [np.stack([x, self.side_y(x, z), z], axis=1) for z in heights]
        edge = rows[-1][:, 1]
        for share in (0.95, 0.85, 0.7, 0.5, 0.25, 0.0):
            rows.append(np.stack([x, share * edge, top + 0.015 - 0.035 * share**2], axis=1))
        half = np.stack(rows)
        grid = np.concatenate([half, (half * [1, -1, 1])[-2::-1]])
        skin = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=2)
        quads = np.concatenate([skin.reshape(-1, 4, 3), _cap(grid[:, 0]), _cap(grid[:, -1])])
        return self.shade(quads, self.paint, eye, self.gloss)

    def shade(self, quads: np.ndarray, colour: np.ndarray, eye: np.ndarray, gloss: float) -> list[Face]:
        """Lights quads (K, 4, 3) of the skin, drops those that face away and sorts the others, the farthest first."""
        normal = np.cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])
        area = np.linalg.norm(normal, axis=1)
        quads, normal = quads[area > 1e-9], normal[area > 1e-9] / area[area > 1e-9, None]
        centre = quads.mean(axis=1)
        outwards = np.sum(normal * (centre * [0.2, 1, 1] - [0, 0, 0.45 * self.height]), axis=1)
        normal *= np.where(outwards < 0, -1.0, 1.0)[:, None]
        to_eye = eye - centre
        distance = np.linalg.norm(to_eye, axis=1)
        to_eye /= distance[:, None]
        seen = np.sum(normal * to_eye, axis=1) > -0.02
        colours = light_up(colour, normal, to_eye, gloss)
        return [Face(quads[i], colours[i]) for i in np.argsort(-distance, kind="stable") if seen[i]]


def light_up(colour: np.ndarray, normal: np.ndarray, to_eye: np.ndarray, gloss: float) -> np.ndarray:
    """Colours (K, 3) of surfaces lit by lamps in the ceiling, which reflect the floor and the walls.

    Args:
        colour: (3,) in 0..1.
        normal: (K, 3) of unit length.
        to_eye: (K, 3) of unit length.
        gloss: strength of the reflections, 0..1.
    """
    lamp = np.array([0.35, 0.25, 0.9]) / np.linalg.norm([0.35, 0.25, 0.9])
    facing = np.clip(normal @ lamp, 0, 1)
    along = np.clip(np.sum(normal * to_eye, axis=1), 0, 1)
    mirrored = 2 * along[:, None] * normal - to_eye
    up, down = np.clip(mirrored[:, 2], 0, 1), np.clip(-mirrored[:, 2], 0, 1)
    surroundings = 0.6 + 0.3 * np.tanh(12 * (mirrored[:, 2] - 0.04)) + 0.4 * up**2 + 0.25 * down
    highlight = 0.5 * gloss * np.clip(mirrored @ lamp, 0, 1) ** 20
    fresnel = gloss * (0.3 + 0.7 * (1 - along) ** 3)
    lit = colour * (0.5 + 0.45 * facing + 0.15 * np.clip(normal[:, 2], 0, 1))[:, None]
    return np.clip(lit * (1 - fresnel[:, None]) + (fresnel * surroundings + highlight)[:, None], 0, 1)


def _cap(section: np.ndarray) -> np.ndarray:
    count = len(section) // 2
    left, right = section[:count], section[::-1][:count]
    return np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)


def car_faces(car: CarBody, eye: np.ndarray) -> list[Face]:
    """All faces of a car visible from a point, in painting order.

    Args:
        car: the car.
        eye: (3,) metres, in the car's frame.
    """
    far, near = (1, -1) if eye[1] < 0 else (-1, 1)
    faces = [face for x in car.axles for side in (far, near) for face in _tread(car, x, side)]
    faces += _mirror(car, far) + car.hull(eye)
    faces += _pane(car, car.roof_front, car.cowl, eye) + _pane(car, car.deck, car.roof_rear, eye)
    faces += _end(car, eye)
    if abs(eye[1]) > car.width / 2 + 0.05:
        faces += _side(car, near, eye)
    return faces + _mirror(car, near)


def _pane(car: CarBody, start: float, stop: float, eye: np.ndarray) -> list[Face]:
    x = np.linspace(start, stop, 9)
    y, z = 0.88 * car.side_y(x, car.top(x) - 0.03), car.top(x) + 0.012
    return car.shade(_strip(np.stack([x, y, z], axis=1), np.stack([x, -y, z], axis=1)), _GLASS, eye, 0.75)


def _end(car: CarBody, eye: np.ndarray) -> list[Face]:
    front = eye[0] > 0
    if abs(eye[0]) < car.length / 2:
        return []
    x = np.copysign(car.length / 2 + 0.004, eye[0])
    top, half = float(car.top(np.copysign(car.length / 2, eye[0]))), float(car.half_width(x))
    middle = (car.sill + top) / 2
    lamp = _FRONT_LAMP if front else _REAR_LAMP
    grille = _RUBBER if front else 0.6 * car.paint
    panels = (
        (-0.55 * half, 0.55 * half, middle - 0.06, top - 0.06, grille),
        (-0.97 * half, -0.62 * half, top - 0.16, top - 0.03, lamp),
        (0.62 * half, 0.97 * half, top - 0.16, top - 0.03, lamp),
        (-0.26, 0.26, car.sill + 0.09, car.sill + 0.2, _PLATE),
        (-0.8 * half, 0.8 * half, car.sill, car.sill + 0.05, 1.4 * _RUBBER),
    )
    return [
        Face(np.array([[x, left, low], [x, right, low], [x, right, high], [x, left, high]]), colour)
        for left, right, low, high, colour in panels
    ]


def _side(car: CarBody, side: int, eye: np.ndarray) -> list[Face]:
    begin, end = (car.roof_rear + 2 * car.deck) / 3, (car.roof_front + 2 * car.cowl) / 3
    pillars = np.linspace(begin + 0.1, end - 0.12, 3 if car.height < 1.6 else 4)
    faces = []
    for left, right in pairwise(pillars):
        faces += _side_window(car, left + 0.04, right - 0.03, side, eye)
        seam = _on_side(car, np.full(9, right), np.linspace(car.sill + 0.05, car.belt, 9), side)
        faces.append(_band(seam, [0.014, 0, 0], 0.45 * car.paint))
        handle = _on_side(car, np.array([left + 0.08, left + 0.25]), np.full(2, car.belt - 0.1), side)
        faces.append(_band(handle, [0, 0, 0.03], 0.6 * car.paint))
    for end, drop, colour in ((1, 0.05, _FRONT_LAMP), (-1, 0.06, _REAR_LAMP)):
        x = end * np.linspace(car.length / 2 - 0.28, car.length / 2, 6)
        faces.append(_band(_on_side(car, x, car.top(x) - drop, side), [0, 0, -0.12], colour))
    rocker = _on_side(car, np.linspace(car.axles[0], car.axles[1], 12), np.full(12, car.sill), side)
    faces.append(_band(rocker, [0, 0, 0.06], 1.4 * _RUBBER))
    return faces + [face for x in car.axles for face in _wheel(car, x, side)]


def _side_window(car: CarBody, start: float, stop: float, side: int, eye: np.ndarray) -> list[Face]:
    x = np.linspace(start, stop, 17)
    x = x[car.top(x) - 0.1 > car.belt + 0.04]
    low, high = (
        _on_side(car, x, np.full(len(x), car.belt + 0.03), side),
        _on_side(car, x, car.top(x) - 0.1, side),
    )
    return car.shade(_strip(low, high), _GLASS, eye, 0.6)


def _tread(car: CarBody, x: float, side: int) -> list[Face]:
    outer = side * (car.width / 2 - 0.02)
    return _tube(_disc(car, x, outer - side * 0.24, 1.0), _disc(car, x, outer, 1.0), _RUBBER)


def _wheel(car: CarBody, x: float, side: int) -> list[Face]:
    y = side * (car.width / 2 - 0.02)
    arch = _disc(car, x, y, 1.16)
    arch[:, 2] = np.maximum(arch[:, 2], car.sill)
    faces = [Face(arch, 0.6 * _RUBBER), Face(_disc(car, x, y, 1.0), _RUBBER)]
    faces.append(Face(_disc(car, x, y, 0.7), 0.35 * car.rim))
    spoke = car.wheel_radius * np.array([[0.08, 0.1], [0.68, 0.07], [0.68, -0.07], [0.08, -0.1]])
    for angle in 2 * np.pi * np.arange(car.spokes) / car.spokes + 0.3 * x:
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        flat = spoke @ turn + [x, car.wheel_radius]
        faces.append(Face(np.stack([flat[:, 0], np.full(4, y), flat[:, 1]], axis=1), car.rim))
    return [*faces, Face(_disc(car, x, y, 0.16), 0.8 * car.rim)]


def _mirror(car: CarBody, side: int) -> list[Face]:
    x, z = (car.cowl + car.roof_front) / 2 + 0.12, car.belt + 0.09
    y = side * (float(car.side_y(x, z)) + 0.09)
    ring = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    oval = np.stack([np.zeros(12), y + 0.11 * np.cos(ring), z + 0.075 * np.sin(ring)], axis=1)
    return _tube(oval + np.array([x - 0.1, 0, 0]), oval + np.array([x + 0.05, 0, 0]), 0.7 * car.paint)


def _on_side(car: CarBody, x: np.ndarray, z: np.ndarray, side: int) -> np.ndarray:
    return np.stack([x, side * (car.side_y(x, z) + 0.006), z], axis=1)


def _disc(car: CarBody, x: float, y: float, share: float) -> np.ndarray:
    angle, radius = np.linspace(0, 2 * np.pi, 32, endpoint=False), share * car.wheel_radius
    across, up = x + radius * np.cos(angle), car.wheel_radius + radius * np.sin(angle)
    return np.stack([across, np.full(32, y), up], axis=1)


def _strip(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.stack([one[:-1], one[1:], other[1:], other[:-1]], axis=1)


def _band(line: np.ndarray, step: list[float], colour: np.ndarray) -> Face:
    return Face(np.concatenate([line, line[::-1] + step]), colour)


def _tube(one: np.ndarray, other: np.ndarray, colour: np.ndarray) -> list[Face]:
    closed = _strip(np.concatenate([one, one[:1]]), np.concatenate([other, other[:1]]))
    return [Face(one, colour), *(Face(quad, colour) for quad in closed), Face(other, colour)]
