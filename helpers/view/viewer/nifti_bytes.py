"""A volume as the bytes of a NIfTI file, for a browser to read."""

from __future__ import annotations

import numpy as np

from helpers.data.geometry import Geometry


def nifti_bytes(array: np.ndarray, geometry: Geometry) -> bytes:
    """An uncompressed NIfTI-1 file whose axes run to the right, to the front and up (RAS), at the same place.

    Args:
        array: (Z, Y, X); floats are stored as 16-bit integers with a scale, which is more than a screen shows.
        geometry: of the array.
    """
    import nibabel

    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI counts to the right and to the front, SimpleITK to left and back
    affine = np.eye(4)
    matrix = np.array(geometry.direction, float).reshape(3, 3)
    affine[:3, :3] = matrix * np.array(geometry.spacing_mm_zyx[::-1])
    affine[:3, 3] = geometry.origin_mm_xyz
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(array.transpose(2, 1, 0), to_ras @ affine))
    if array.dtype.kind == "f":
        image.set_data_dtype(np.int16)
    return image.to_bytes()
