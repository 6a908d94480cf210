"""The shape and paint of a drawn car: a side profile swept across the car's width, as shaded polygons.

The car's frame is x forward, y left, z up, in metres; the ground is z = 0 and the car's middle x = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

PAINTS = np.array([
    [0.92, 0.92, 0.9], [0.72, 0.73, 0.75], [0.42, 0.43, 0.45], [0.09, 0.09, 0.1], [0.16, 0.17, 0.2],
    [0.62, 0.08, 0.09], [0.1, 0.17, 0.45], [0.35, 0.5, 0.72], [0.1, 0.3, 0.2], [0.55, 0.5, 0.4],
    [0.75, 0.35, 0.08], [0.82, 0.7, 0.18], [0.35, 0.2, 0.14], [0.55, 0.62, 0.58],
])  # fmt: skip


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
    """One car's measures in metres, its outline and its paint, all drawn from a random generator."""

    def __init__(self, random: np.random.Generator):
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
        """Half the width at stations x, rounded towards both ends."""
        return self.width / 2 * (1 - 0.2 * np.abs(2 * x / self.length) ** 5)

    def side_y(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Distance of the side from the middle plane: bulged below the belt line, leaning above it."""
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
        """Lights quads (K, 4, 3) of the skin, drops those that face away, sorts the farthest first."""
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
    """Colours (K, 3) of surfaces under a ceiling of lamps, with floor and walls mirrored in them.

    Args:
        colour: (3,) in 0..1.
        normal: (K, 3) of unit length.
        to_eye: (K, 3) of unit length.
        gloss: how much of the surroundings a surface mirrors, 0..1.
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
