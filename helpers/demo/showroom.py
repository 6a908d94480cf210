"""Draws showrooms: a wall, a floor, and clutter with the colours and boxy shapes of cars.

The world's frame is x to the right, y away from the eye, z up, in metres, with the car at the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw
from scipy import ndimage

from helpers.demo.car_model import PAINTS, light_up


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along +y, tilted down.

    Attributes:
        eye: (3,) metres.
        pitch_rad: downward tilt.
        focal_px: focal length in pixels.
        centre_px: (u, v) where the axis meets the picture.
    """

    eye: np.ndarray
    pitch_rad: float
    focal_px: float
    centre_px: tuple[float, float]

    def project(self, points: np.ndarray) -> np.ndarray:
        """Maps (K, 3) metres in front of the eye to (K, 2) pixels: u to the right, v down."""
        x, y, z = (points - self.eye).T
        depth = np.maximum(y * np.cos(self.pitch_rad) - z * np.sin(self.pitch_rad), 0.1)
        up = y * np.sin(self.pitch_rad) + z * np.cos(self.pitch_rad)
        return np.array(self.centre_px) + self.focal_px * np.stack([x, -up], axis=1) / depth[:, None]


def to_rgb(colour: np.ndarray) -> tuple[int, int, int]:
    """A colour (3,) in 0..1 as 8-bit RGB.

    >>> to_rgb(np.array([0.0, 0.5, 1.2]))
    (0, 128, 255)
    """
    red, green, blue = (round(255 * float(np.clip(c, 0, 1))) for c in colour)
    return red, green, blue


def draw_showroom(
    random: np.random.Generator,
    camera: Camera,
    size_px: tuple[int, int],
    dark_share: float = 0.0,
) -> Image.Image:
    """Draws the picture without the car.

    Args:
        random: the source of every choice.
        camera: the view of the room.
        size_px: (width, height).
        dark_share: probability of a dark wall or floor, 0..1.
    """
    wall_y = random.uniform(3.6, 6.5)
    image = _draw_surfaces(random, camera, size_px, wall_y, dark_share)
    pen = ImageDraw.Draw(image)
    _draw_floor_marks(random, pen, camera)
    for _ in range(int(random.integers(2, 6))):
        _draw_wall_panel(random, pen, camera, wall_y)
    if random.random() < 0.5:
        _draw_sign(random, pen, camera, wall_y)
    if random.random() < 0.5:
        _draw_shelf(random, pen, camera, wall_y)
    depths = np.sort(random.uniform(2.3, wall_y - 0.3, int(random.integers(2, 6))))[::-1]
    for depth in depths:
        _draw_lookalike(random, pen, camera, float(depth))
    return image


def _muted(random: np.random.Generator, dark_share: float) -> np.ndarray:
    grey = random.uniform(0.55, 0.95) if random.random() < 1 - dark_share else random.uniform(0.25, 0.55)
    tint = random.normal(0, 0.03 if random.random() < 0.75 else 0.1, 3)
    return np.clip(grey + tint - tint.mean(), 0.05, 0.98)


def _grain(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    total = np.zeros(shape)
    for sigma, share in ((1.2, 0.4), (6, 0.7), (40, 1.2)):
        # Coarse grain is drawn small and enlarged, because a wide blur of the full picture is slow.
        small = [max(2, int(np.ceil(length / max(1.0, sigma / 2)))) for length in shape]
        noise = ndimage.gaussian_filter(random.standard_normal(small), 2 if sigma > 2 else sigma, mode="wrap")
        zoom = np.array(shape) / small
        noise = ndimage.zoom(noise, zoom, order=1, grid_mode=True, mode="nearest")
        total += share * noise / noise.std()
    return total


def _draw_surfaces(
    random: np.random.Generator,
    camera: Camera,
    size_px: tuple[int, int],
    wall_y: float,
    dark_share: float,
) -> Image.Image:
    width, height = size_px[0] // 2, size_px[1] // 2
    seam = camera.project(np.array([[0, wall_y, 0]]))[0, 1] / 2
    v, u = np.mgrid[:height, :width]
    seam = seam + random.uniform(-0.02, 0.1) * height * (2 * u / width - 1) ** 2
    blend = np.clip((v - seam) / random.uniform(0.5, 14), 0, 1)[..., None]
    wall, floor = _muted(random, dark_share), _muted(random, dark_share)
    if random.random() < 0.35:
        floor = np.clip(wall + random.normal(0, 0.05), 0.05, 0.95)
    light = 1 + random.uniform(-0.25, 0.25) * (u / width - 0.5) + random.uniform(0, 0.3) * (v / height - 0.5)
    picture = (wall * (1 - blend) + floor * blend) * light[..., None]
    rough = np.where(v > seam, random.uniform(0.003, 0.016), random.uniform(0.001, 0.008))
    picture = picture + (rough * _grain(random, (height, width)))[..., None]
    picture = np.uint8(np.clip(picture, 0, 1) * 255 + 0.5)
    return Image.fromarray(picture).resize(size_px, Image.Resampling.BILINEAR)


def _polygon(pen: ImageDraw.ImageDraw, camera: Camera, corners: ArrayLike, colour: np.ndarray) -> None:
    pen.polygon(camera.project(np.asarray(corners, dtype=float)).ravel().tolist(), fill=to_rgb(colour))


def _line(pen: ImageDraw.ImageDraw, camera: Camera, points: ArrayLike, grey: float, width_px: int) -> None:
    outline = camera.project(np.asarray(points, dtype=float)).ravel().tolist()
    pen.line(outline, fill=to_rgb(np.full(3, grey)), width=width_px)


def _draw_floor_marks(random: np.random.Generator, pen: ImageDraw.ImageDraw, camera: Camera) -> None:
    grey = random.uniform(0.25, 0.75)
    if random.random() < 0.4:
        step = random.uniform(0.8, 1.6)
        for x in np.arange(-12, 12, step):
            _line(pen, camera, [[x, -5, 0], [x, 3.5, 0]], grey, 3)
        for y in np.arange(-5, 3.5, step):
            _line(pen, camera, [[-14, y, 0], [14, y, 0]], grey, 3)
    if random.random() < 0.5:
        angle, radius = np.linspace(0, 2 * np.pi, 120), random.uniform(2.7, 3.3)
        ring = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], axis=1)
        _line(pen, camera, ring, grey, int(random.integers(2, 8)))
    for _ in range(int(random.integers(0, 3))):
        x, y = random.uniform(-5, 5), random.uniform(-4.5, 2)
        long, wide = random.uniform(0.4, 3), random.uniform(0.08, 0.6)
        corners = [[x, y, 0], [x + long, y, 0], [x + long, y + wide, 0], [x, y + wide, 0]]
        _polygon(pen, camera, corners, PAINTS[random.integers(len(PAINTS))])


def _draw_wall_panel(
    random: np.random.Generator,
    pen: ImageDraw.ImageDraw,
    camera: Camera,
    wall_y: float,
) -> None:
    x, z = random.uniform(-7, 6), random.uniform(0.3, 2.6)
    wide, high = random.uniform(0.4, 3.2), random.uniform(0.3, 1.6)
    colour = PAINTS[random.integers(len(PAINTS))] if random.random() < 0.6 else _muted(random, 0.2)
    y = wall_y - 0.01
    _polygon(pen, camera, [[x, y, z], [x + wide, y, z], [x + wide, y, z + high], [x, y, z + high]], colour)
    inner = np.clip(colour + random.choice([-0.3, 0.3]), 0, 1)
    left, right, low, top = x + 0.12 * wide, x + 0.88 * wide, z + 0.15 * high, z + 0.85 * high
    if random.random() < 0.6:
        _polygon(pen, camera, [[left, y, low], [right, y, low], [right, y, top], [left, y, top]], inner)


def _draw_sign(random: np.random.Generator, pen: ImageDraw.ImageDraw, camera: Camera, wall_y: float) -> None:
    size, y, z = random.uniform(0.6, 1.3), wall_y - 0.02, random.uniform(0.9, 1.8)
    grey = random.uniform(0.1, 0.5)
    left = random.uniform(-6, -2)
    for letter in range(int(random.integers(4, 9))):
        x = left + letter * size * 1.1
        for _ in range(int(random.integers(2, 5))):
            stroke = random.integers(0, 2, (2, 2)) * [0.7, 1] * size + [x, z]
            _line(pen, camera, [[u, y, v] for u, v in stroke], grey, int(22 * size))


def _draw_shelf(random: np.random.Generator, pen: ImageDraw.ImageDraw, camera: Camera, wall_y: float) -> None:
    x, y, wide = random.uniform(-6, 3), wall_y - 0.3, random.uniform(1.2, 2.8)
    frame = np.full(3, random.uniform(0.1, 0.6))
    for z in np.arange(0.2, random.uniform(1.2, 2.4), 0.5):
        board = [[x, y, z], [x + wide, y, z], [x + wide, y, z + 0.05], [x, y, z + 0.05]]
        place = x + 0.05
        while place < x + wide - 0.2:
            broad, high = random.uniform(0.12, 0.5), random.uniform(0.12, 0.42)
            stop = min(place + broad, x + wide)
            corners = [[place, y, z + 0.05], [stop, y, z + 0.05], [stop, y, z + high], [place, y, z + high]]
            _polygon(pen, camera, corners, PAINTS[random.integers(len(PAINTS))] * random.uniform(0.6, 1))
            place += broad + random.uniform(0, 0.15)
        _polygon(pen, camera, board, frame)


def _draw_lookalike(
    random: np.random.Generator,
    pen: ImageDraw.ImageDraw,
    camera: Camera,
    depth: float,
) -> None:
    # A box in a car's paint, sometimes with a dark band and two discs: a threshold would mistake it for a car.
    x = random.uniform(1.2, 5.5) * random.choice([-1, 1]) + random.normal(0, 0.6)
    half = np.array([random.uniform(0.25, 1.1), random.uniform(0.2, 0.6)])
    high, turn = random.uniform(0.4, 1.5), random.uniform(0, np.pi / 2)
    paint = PAINTS[random.integers(len(PAINTS))]
    axes = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0]]) * half[:, None]
    base, up = np.array([x, depth, 0.0]), np.array([0, 0, high])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ axes
    _polygon(pen, camera, base + 1.15 * corners, np.full(3, 0.2))
    for index, sign in ((0, -1), (0, 1), (1, -1), (1, 1)):
        out, along = sign * axes[index], axes[1 - index]
        if out @ (camera.eye - base - out) > 0:
            _draw_box_side(random, pen, camera, base + out, out, along, up, paint)
    _polygon(pen, camera, base + corners + up, np.clip(1.15 * paint + 0.05, 0, 1))


def _draw_box_side(
    random: np.random.Generator,
    pen: ImageDraw.ImageDraw,
    camera: Camera,
    middle: np.ndarray,
    out: np.ndarray,
    along: np.ndarray,
    up: np.ndarray,
    paint: np.ndarray,
) -> None:
    normal, to_eye = out / np.linalg.norm(out), camera.eye - middle
    colour = light_up(paint, normal[None], to_eye[None] / np.linalg.norm(to_eye), 0.2)[0]

    def panel(reach: float, low: float, top: float, colour: np.ndarray) -> None:
        left, right = middle - reach * along, middle + reach * along
        _polygon(pen, camera, [left + low * up, right + low * up, right + top * up, left + top * up], colour)

    panel(1.0, 0.0, 1.0, colour)
    if random.random() < 0.5:
        panel(0.85, 0.55, 0.85, 0.25 * paint)
    if random.random() < 0.5:
        angle, radius = np.linspace(0, 2 * np.pi, 24, endpoint=False), 0.2 * up[2] + 0.05
        circle = np.outer(np.cos(angle), along / np.linalg.norm(along)) + np.outer(np.sin(angle), [0, 0, 1])
        for place, share, grey in ((-0.65, 1, 0.05), (-0.65, 0.6, 0.6), (0.65, 1, 0.05), (0.65, 0.6, 0.6)):
            hub = middle + place * along + [0, 0, radius]
            _polygon(pen, camera, hub + share * radius * circle, np.full(3, grey))
