"""DICOM series of one file per slice, written for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from helpers.data.geometry import Geometry


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

    folder.mkdir(parents=True, exist_ok=True)
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


def write_on_grid(
    folder: Path, voxels: np.ndarray, grid: Geometry, *, names: list[str] | None = None, **values: object
) -> Path:
    """Writes integers (Z, Y, X) as a CT series with pydicom, one file per slice, each placed by a grid.

    Args:
        folder: made if it does not exist.
        voxels: int16.
        grid: perpendicular, or sheared along its slices only.
        names: of the files, in the order of the slices.
        values: further attributes, or other values for those written here, by their keywords.
    """
    from pydicom.uid import generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    affine = grid.affine_lps()
    axes = np.reshape(grid.direction, (3, 3))
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for index, plane in enumerate(voxels):
        slice_ = _empty_slice(plane, index)
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID, slice_.FrameOfReferenceUID = study, series, frame
        slice_.ImagePositionPatient = [f"{value:.10g}" for value in affine[:3, 3] + index * affine[:3, 2]]
        slice_.ImageOrientationPatient = [f"{value:.12f}" for value in (*axes[:, 0], *axes[:, 1])]
        slice_.PixelSpacing = [f"{value:.10g}" for value in grid.spacing_mm_zyx[1:]]
        slice_.SliceThickness = f"{grid.spacing_mm_zyx[0]:.10g}"
        for name, value in values.items():
            setattr(slice_, name, value)
        slice_.save_as(folder / (names[index] if names else f"{index:03}.dcm"), enforce_file_format=True)
    return folder


def _empty_slice(plane: np.ndarray, index: int) -> Dataset:
    """A slice of a CT with everything but its place and its series."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    slice_ = Dataset()
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    slice_.file_meta.MediaStorageSOPClassUID = CTImageStorage
    slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, generate_uid()
    slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID
    slice_.Modality, slice_.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    slice_.PatientName, slice_.PatientID, slice_.PatientBirthDate, slice_.PatientSex = "Doe^Jane", "17", "", "F"
    slice_.StudyDate, slice_.StudyTime, slice_.AccessionNumber, slice_.StudyID = "20260101", "120000", "", "1"
    slice_.ReferringPhysicianName, slice_.Manufacturer, slice_.SeriesNumber = "", "none", "3"
    slice_.InstanceNumber, slice_.KVP, slice_.AcquisitionNumber = str(index + 1), "120", "1"
    slice_.PositionReferenceIndicator, slice_.PatientPosition = "", "HFS"
    slice_.Rows, slice_.Columns = plane.shape
    slice_.SamplesPerPixel, slice_.PhotometricInterpretation, slice_.PixelRepresentation = 1, "MONOCHROME2", 1
    slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
    slice_.RescaleIntercept, slice_.RescaleSlope, slice_.RescaleType = "0", "1", "HU"
    slice_.PixelData = np.ascontiguousarray(plane, "<i2").tobytes()
    return slice_
