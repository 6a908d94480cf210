"""Voxels of every dtype and grids of every direction, for the tests of volume files."""

from __future__ import annotations

import numpy as np

from helpers.data.geometry import Geometry

FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha")


def rotation(*degrees: float) -> np.ndarray:
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


# Columns are the patient directions of the array's axes x, y, z; a determinant of -1 is a left-handed grid.
DIRECTIONS = {
    "along the axes": np.eye(3),
    "as BraTS": np.diag([1.0, 1.0, 1.0]),
    "x flipped": np.diag([-1.0, 1.0, 1.0]),
    "all flipped": np.diag([-1.0, -1.0, -1.0]),
    "permuted": np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]),
    "oblique": rotation(12, -23, 41),
    "oblique and flipped": rotation(-31, 8, 5) @ np.diag([1.0, -1.0, 1.0]),
}


def grid(direction=DIRECTIONS["along the axes"], size=(4, 5, 6)) -> Geometry:
    return Geometry(size, (2.5, 0.75, 0.5), (-12.5, 34.25, 7.0), tuple(direction.ravel().tolist()))


def voxels(dtype="int16", size=(4, 5, 6)) -> np.ndarray:
    if np.dtype(dtype).kind == "f":
        return np.random.default_rng(0).standard_normal(size).astype(dtype)
    info = np.iinfo(dtype)
    array = np.random.default_rng(0).integers(info.min, info.max, size, dtype=dtype, endpoint=True)
    array.flat[:2] = info.min, info.max
    return array
