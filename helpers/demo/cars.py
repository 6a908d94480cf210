"""Demo cases in the layout of Carvana with exact masks: pictures of drawn cars.

A seed determines everything in a picture: the car (body, paint, wheels, one of sixteen views), a cluttered showroom,
shadow, reflection and lens. Nothing comes from a photograph.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from helpers.demo.car_model import CarBody, Face, car_faces
from helpers.demo.showroom import Camera, draw_showroom, to_rgb

SIZE_PX = (959, 640)
_CANVAS_PX = (1918, 1280)
_VIEWS = 16


def case_id(seed: int) -> str:
    """The case id of a seed as in Carvana: twelve hexadecimal digits and a view from 01 (front) to 16."""
    random = np.random.Generator(np.random.PCG64([seed, 0]))
    return f"{int(random.integers(1 << 48)):012x}_{_view(seed):02d}"


def generate_image(seed: int, dark_share: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Draws one car.

    Args:
        seed: at least 0; seed and `dark_share` determine the picture.
        dark_share: probability of a dark wall or floor, 0..1; dark rooms are harder, which is useful for training.

    Returns:
        The picture (3, 640, 959) uint8 RGB and the car's mask (640, 959) uint8, 0 or 1 (without its shadow).
    """
    random = np.random.Generator(np.random.PCG64([seed, 1]))
    camera = _aim(random)
    car = CarBody(random)
    yaw = 2 * np.pi * (_view(seed) - 1) / _VIEWS - np.pi / 2 + random.normal(0, 0.07)
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    faces = [Face(face.points @ turn.T, face.colour) for face in car_faces(car, turn.T @ camera.eye)]
    canvas = draw_showroom(random, camera, _CANVAS_PX, dark_share)
    canvas = _darken_floor(random, canvas, camera, turn, car)
    canvas = _mirror_in_floor(canvas, camera, faces, random.uniform(0, 0.22))
    pen, mask = ImageDraw.Draw(canvas), Image.new("L", _CANVAS_PX)
    mask_pen = ImageDraw.Draw(mask)
    for face, outline in zip(faces, _outlines(camera, faces), strict=True):
        pen.polygon(outline, fill=to_rgb(face.colour))
        mask_pen.polygon(outline, fill=255)
    picture = np.asarray(canvas.reduce(2), dtype=np.float64) / 255
    truth = np.asarray(mask.reduce(2)) > 127
    return np.ascontiguousarray(_expose(random, picture).transpose(2, 0, 1)), truth.astype(np.uint8)


def write_demo_cases(root: str | os.PathLike, seeds: Iterable[int]) -> list[str]:
    """Writes one case per seed: `train/<case>.jpg` and `train_masks/<case>_mask.gif` (palette values 0 and 1).

    Args:
        root: the data set's folder, created if missing.
        seeds: one per case.

    Returns:
        The case ids, in the order of the seeds.
    """
    images, masks = Path(root) / "train", Path(root) / "train_masks"
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for seed in seeds:
        image, mask = generate_image(seed)
        case = case_id(seed)
        Image.fromarray(image.transpose(1, 2, 0)).save(images / f"{case}.jpg", quality=92)
        indexed = Image.fromarray(mask, mode="P")
        indexed.putpalette([0, 0, 0, 255, 255, 255])
        indexed.save(masks / f"{case}_mask.gif")
        cases.append(case)
    return cases


def _view(seed: int) -> int:
    return 1 + int(np.random.Generator(np.random.PCG64([seed, 2])).integers(_VIEWS))


def _aim(random: np.random.Generator) -> Camera:
    eye = np.array([random.uniform(-0.5, 0.5), -random.uniform(8.0, 9.5), random.uniform(1.4, 2.4)])
    width, height = _CANVAS_PX
    return Camera(
        eye=eye,
        pitch_rad=float(np.arctan2(eye[2] - 0.65, -eye[1])),
        focal_px=width * random.uniform(1.05, 1.4),
        centre_px=(width * random.uniform(0.42, 0.58), height * random.uniform(0.46, 0.62)),
    )


def _darken_floor(
    random: np.random.Generator, canvas: Image.Image, camera: Camera, turn: np.ndarray, car: CarBody
) -> Image.Image:
    angle = np.linspace(0, 2 * np.pi, 60)
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    footprint = np.sign(ring) * np.abs(ring) ** 0.4 * [car.length / 2, car.width / 2, 0]
    shade = np.zeros(_CANVAS_PX[::-1])
    for grow, blur_px, depth in ((1.0, 2, 0.55), (1.25, 10, random.uniform(0.1, 0.4))):
        layer = Image.new("L", (_CANVAS_PX[0] // 4, _CANVAS_PX[1] // 4))
        outline = camera.project(grow * footprint @ turn.T) / 4
        ImageDraw.Draw(layer).polygon(outline.ravel().tolist(), fill=255)
        layer = layer.filter(ImageFilter.GaussianBlur(blur_px)).resize(_CANVAS_PX, Image.Resampling.BILINEAR)
        shade = np.maximum(shade, depth * np.asarray(layer, dtype=np.float64) / 255)
    return Image.composite(Image.new("RGB", _CANVAS_PX), canvas, Image.fromarray(np.uint8(shade * 255)))


def _outlines(camera: Camera, faces: list[Face], flip: float = 1.0, scale: float = 1.0) -> list[list[float]]:
    points = np.concatenate([face.points for face in faces]) * [1, 1, flip]
    stops = np.cumsum([len(face.points) for face in faces])[:-1]
    return [part.ravel().tolist() for part in np.split(scale * camera.project(points), stops)]


def _mirror_in_floor(canvas: Image.Image, camera: Camera, faces: list[Face], strength: float) -> Image.Image:
    # At half the size, because the reflection is blurred anyway.
    layer = canvas.reduce(2)
    cover = Image.new("L", layer.size)
    pen, cover_pen = ImageDraw.Draw(layer), ImageDraw.Draw(cover)
    for face, outline in zip(faces, _outlines(camera, faces, flip=-1.0, scale=0.5), strict=True):
        pen.polygon(outline, fill=to_rgb(face.colour))
        cover_pen.polygon(outline, fill=int(255 * strength))
    layer, cover = (
        part.filter(ImageFilter.GaussianBlur(2.5)).resize(canvas.size, Image.Resampling.BILINEAR)
        for part in (layer, cover)
    )
    return Image.composite(layer, canvas, cover)


def _expose(random: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    v, u = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    falloff = 1 - random.uniform(0, 0.18) * (u**2 + v**2) / 2
    balance = random.uniform(0.85, 1.12) * (1 + random.normal(0, 0.03, 3))
    picture = np.clip(picture * falloff[..., None] * balance, 0, 1) ** random.uniform(0.8, 1.25)
    picture = picture + random.normal(0, random.uniform(0.004, 0.015), picture.shape)
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
