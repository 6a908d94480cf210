"""What a drawn car carries on its body: glass, lamps, plates, seams, wheels and mirrors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from helpers.demo.car_body import CarBody, Face

_RUBBER, _GLASS = np.array([0.05, 0.05, 0.055]), np.array([0.1, 0.12, 0.14])
_FRONT_LAMP, _REAR_LAMP, _PLATE = np.array([0.88, 0.88, 0.85]), np.array([0.6, 0.05, 0.06]), np.full(3, 0.89)


def car_faces(car: CarBody, eye: np.ndarray) -> list[Face]:
    """All faces of a car that are seen from a point, in the order in which to paint them.

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
    rocker = _on_side(car, np.linspace(*car.axles, 12), np.full(12, car.sill), side)
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
