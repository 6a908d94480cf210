"""DICOM series of one file per slice, written for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_series(
    folder: Path,
    count: int = 6,
    step_mm: float = 2.5,
    *,
    positions: list[tuple[float, float, float]] | None = None,
    tags: dict[str, str] | None = None,
    first: int = 0,
    orientation: str = "1\\0\\0\\0\\1\\0",
    planes: list[np.ndarray] | None = None,
) -> Path:
    """Writes slices into a folder, by default of value 10 x index, 2.5 mm apart along z.

    Args:
        folder: made if it does not exist.
        count: number of slices, if `positions` are not given.
        positions: of the first pixel of each slice, LPS millimetres.
        tags: further tags, or other values for those written here.
        first: number of the first file and instance.
        orientation: of every slice.
        planes: int16 pixels (1, Y, X) of each slice.
    """
    import SimpleITK as sitk

    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    positions = positions or [(-3, -4, index * step_mm) for index in range(count)]
    for index, position in enumerate(positions):
        plane = planes[index] if planes else np.full((1, 6, 8), 10 * index, np.int16)
        image = sitk.GetImageFromArray(plane)
        image.SetSpacing((0.8, 0.8, step_mm))
        placed = {"0020|0032": "\\".join(f"{value:g}" for value in position), "0020|0037": orientation}
        for key, value in {**_common_tags(first + index, step_mm), **placed, **(tags or {})}.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{first + index:02}.dcm"))
        writer.Execute(image)
    return folder


def _common_tags(number: int, step_mm: float) -> dict[str, str]:
    return {
        "0008|0060": "CT",
        "0008|0018": f"1.2.826.0.1.3680043.2.1125.9.{number + 1}",
        "0018|0050": f"{step_mm:g}",
        "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
        "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
        "0020|0013": str(number + 1),
    }
