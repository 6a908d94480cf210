"""Reads a folder of DICOM files as one volume, if its slices form a grid.

The headers decide which slices belong together and where each of them lies; ITK only decodes the pixels of one file
at a time, because its series reader stretches the slices it finds over whatever is missing between them.
"""

from __future__ import annotations

import functools
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from helpers.data.formats.header import not_scalar
from helpers.data.geometry import EXACT_COSINE, Geometry, grid_of_axes
from helpers.errors import CookbookError, DataError, last_line
from helpers.run.said import say_once

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Transfer syntaxes that GDCM decodes: uncompressed, deflated, JPEG, JPEG lossless, JPEG-LS, JPEG 2000, RLE.
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_DECODED = (
    *_UNCOMPRESSED,
    *("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"),
    *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91)),
)
# What is one value in all slices of one image; where there are two values, there are two images.
_ONE_PER_IMAGE = (
    *(
        "Modality",
        "ImageType",
        "EchoTime",
        "DiffusionBValue",
        "TemporalPositionIdentifier",
        "KVP",
        "ConvolutionKernel",
    ),
    *("ContrastBolusAgent", "FrameOfReferenceUID", "AcquisitionNumber"),
)
# These also change within one image, so they only explain why a position is there twice.
_EXPLAINS_ONLY = ("AcquisitionNumber", "ContrastBolusAgent")
_SAME_PLACE_MM = 0.01
_SAME_ORIENTATION = 1e-3
_SHOWN = 4
_DEPTH = 3  # as scanners and archives export: patient, study, series


@dataclass(frozen=True)
class DicomSeries:
    """A series: its UID, its description, which may be empty, and its files, perhaps in several folders."""

    uid: str
    description: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class DicomSlice:
    """What the header of a slice says.

    Attributes:
        path: the file.
        name: its path from the folder that was read, for messages.
        size_yx, spacing_yx: of its pixels, in millimetres.
        orientation: (2, 3), the directions of a row and of a column.
        position: (3,) of the first pixel, LPS millimetres.
        thickness: the distance of slices that it states, if it does.
        traits: the values of `_ONE_PER_IMAGE`.
        uid: of the instance.
    """

    path: Path
    name: str
    size_yx: tuple[int, int]
    spacing_yx: tuple[float, float]
    orientation: np.ndarray
    position: np.ndarray
    thickness: float | None
    traits: tuple[str, ...]
    uid: str


def is_dicom_folder(folder: Path) -> bool:
    """Whether a folder has DICOM files, by the first bytes of the first few that may be."""
    names = [
        path for path in _files_of(folder) if path.suffix.lower() in ("", ".dcm", ".ima") or path.suffix[1:].isdigit()
    ]
    return any(_is_dicom(path) for path in names[:_SHOWN])


def dicom_folders_below(folder: Path) -> list[Path]:
    """The folder itself if it has DICOM files, else the folders with DICOM files below it, sorted."""
    return _below(folder, _DEPTH)


def list_dicom_series(folder: Path) -> list[DicomSeries]:
    """The image series of a folder, or of all folders below it if it has no DICOM files itself, sorted by UID.

    Raises:
        DataError: a file that should be DICOM is damaged.
    """
    found: dict[str, tuple[str, list[Path]]] = {}
    for path in [path for place in dicom_folders_below(folder) or [folder] for path in _unbroken_files(place)]:
        header = _read_header(path)
        if header is not None and _is_image(path, header):
            description = str(header.get("SeriesDescription", "") or "").strip()
            found.setdefault(str(header.SeriesInstanceUID), (description, []))[1].append(path)
    return [DicomSeries(uid, description, tuple(files)) for uid, (description, files) in sorted(found.items())]


def read_dicom_series(folder: Path, series: str | None = None) -> tuple[np.ndarray, Geometry]:
    """Reads one series: voxels (Z, Y, X) after rescaling, sorted along the normal of the slices, and their grid.

    Args:
        folder: a folder with DICOM files, or of folders with DICOM files; other files are ignored.
        series: UID or description; needed if there are several.

    Raises:
        DataError: as `find_slices`, or a slice cannot be decoded.
    """
    slices, geometry = find_slices(folder, series)
    planes = [_read_pixels(item) for item in slices]
    return np.stack(planes).astype(np.result_type(*planes), copy=False), geometry


def find_slices(folder: Path, series: str | None = None) -> tuple[list[DicomSlice], Geometry]:
    """The slices of one series, sorted along their normal, and the grid on which each of them lies.

    Args:
        folder, series: as in `read_dicom_series`.

    Raises:
        DataError: the series cannot be chosen, a file is damaged or in a format that is not decoded, or the slices do
            not form a grid: one is missing, there twice, turned, shifted, of another size or of another contrast.
    """
    chosen = _choose(folder, list_dicom_series(folder), series)
    slices = []
    for path in chosen.files:
        with _damage_named(path):
            slices.append(_slice_of(path, path.relative_to(folder).as_posix()))
    _check_orientation(folder, slices)
    _require_one(folder, slices, "size", [item.size_yx for item in slices])
    _require_one(folder, slices, "PixelSpacing", [item.spacing_yx for item in slices])
    slices = _in_order(slices)
    slices = _without_copies(folder, slices)
    _check_traits(folder, slices)
    return slices, _grid(folder, slices)


def read_headers(slices: Sequence[DicomSlice]) -> list[Dataset]:
    """The headers of slices, without their pixels; blank UIDs of an instance are those of its file."""
    headers = [quiet_pydicom().dcmread(item.path, stop_before_pixels=True) for item in slices]
    for header in headers:
        for name in ("SOPClassUID", "SOPInstanceUID"):
            if not header.get(name):
                setattr(header, name, header.file_meta.get(f"MediaStorage{name}", ""))
    return headers


def _below(folder: Path, depth: int) -> list[Path]:
    if is_dicom_folder(folder):
        return [folder]
    if depth == 0:
        return []
    children = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return [found for child in children for found in _below(child, depth - 1)]


def _unbroken_files(folder: Path) -> list[Path]:
    # No check of distances notices that the first or the last slice is missing.
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.exists():
            raise DataError(f"{path} is a broken link", remedy="Restore the target, or remove the link.")
    return _files_of(folder)


def _files_of(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _is_image(path: Path, header: Dataset) -> bool:
    """Whether an object is an image; reports, plans, structures and segmentations lie in the same folders."""
    storage = getattr(header.get("SOPClassUID"), "name", "")
    if storage and "Image Storage" not in storage and not storage.startswith("1."):
        return False
    for name in ("SeriesInstanceUID", "Rows", "Columns"):
        if name not in header:
            raise _unusable(path, name, "no value", "one: the file is cut or damaged")
    return True


def _read_header(path: Path, *, pixels: bool = False) -> Dataset | None:
    """The header of a DICOM file; None for other files and for an index (DICOMDIR)."""
    if path.name.upper() == "DICOMDIR" or not _is_dicom(path):
        if path.suffix.lower() == ".dcm":
            raise DataError(f"{path} is not DICOM", received="no mark DICM", remedy="Get it again, or remove it.")
        return None
    with _damage_named(path):
        header = quiet_pydicom().dcmread(path, stop_before_pixels=not pixels)
        list(header.iterall())  # values are decoded when they are accessed
    return header


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turns whatever a parser of foreign files stumbles over into one line that names the file."""
    try:
        yield
    except CookbookError:
        raise
    except Exception as error:
        raise DataError(f"{path} is damaged DICOM", received=last_line(error), remedy="Copy it again.") from None


@functools.cache
def quiet_pydicom() -> ModuleType:
    """The reader of headers, without its warnings about values that are odd: what matters of them is checked here."""
    import pydicom

    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
    return pydicom


def _choose(folder: Path, found: Sequence[DicomSeries], wanted: str | None) -> DicomSeries:
    names = [f"{item.uid} ({item.description or 'no description'}, {len(item.files)} images)" for item in found]
    shown = "; ".join(names[:_SHOWN]) + ("; …" if len(names) > _SHOWN else "")
    if wanted is None:
        if len(found) == 1:
            return found[0]
        raise DataError(
            f"{folder} does not contain exactly one DICOM series",
            received=f"{len(found)} series{': ' if shown else ''}{shown}",
            expected="1",
            remedy="Choose one by its UID or description."
            if found
            else "Name a folder with the files of one series.",
        )
    matching = [item for item in found if wanted in (item.uid, item.description)]
    matching = matching or [item for item in found if wanted.casefold() == item.description.casefold()]
    if len(matching) != 1:
        raise DataError(
            f"{folder} has {len(matching) or 'no'} DICOM series {wanted!r}",
            received=shown or "no series",
            expected="the UID or the description of one",
        )
    return matching[0]


def _slice_of(path: Path, name: str) -> DicomSlice:
    header = _read_header(path, pixels=True)
    assert header is not None
    _check_decodable(path, header)
    position = _numbers(path, header, "ImagePositionPatient", 3)
    orientation = _numbers(path, header, "ImageOrientationPatient", 6).reshape(2, 3)
    spacing = _numbers(path, header, "PixelSpacing", 2)
    lengths = np.linalg.norm(orientation, axis=1)
    if (spacing <= 0).any():
        raise _unusable(path, "PixelSpacing", spacing.tolist(), "positive millimetres")
    if np.abs(lengths - 1).max() > 0.01 or abs(orientation[0] @ orientation[1]) > 0.01:
        raise _unusable(
            path, "ImageOrientationPatient", orientation.ravel().tolist(), "two perpendicular unit vectors"
        )
    thickness = next(
        (float(header[k].value) for k in ("SpacingBetweenSlices", "SliceThickness") if header.get(k)), None
    )
    return DicomSlice(
        path=path,
        name=name,
        size_yx=(int(header.Rows), int(header.Columns)),
        spacing_yx=(float(spacing[0]), float(spacing[1])),
        orientation=orientation / lengths[:, None],
        position=position,
        thickness=float(thickness) if thickness else None,
        traits=tuple(str(header.get(name, "")) for name in _ONE_PER_IMAGE),
        uid=str(header.get("SOPInstanceUID") or header.file_meta.get("MediaStorageSOPInstanceUID", "")),
    )


def _check_decodable(path: Path, header: Dataset) -> None:
    """Refuses what is not one plane of single numbers in a format that is decoded, and missing pixels."""
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None or str(syntax) not in _DECODED:
        raise DataError(
            f"{path} is compressed in a way that is not decoded" if syntax else f"{path} names no transfer syntax",
            received=getattr(syntax, "name", None),
            expected="uncompressed, deflated, RLE, JPEG, JPEG-LS or JPEG 2000",
            remedy="Convert the series with gdcmconv --raw or dcmdjpeg.",
        )
    channels, frames = int(header.get("SamplesPerPixel", 1)), int(header.get("NumberOfFrames", 1) or 1)
    if channels != 1 or header.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise not_scalar(path, f"{channels} channels, {header.get('PhotometricInterpretation')}")
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        raise DataError(
            f"{path} has its grey values in reverse, which ITK inverts and other readers do not",
            received="MONOCHROME1",
            expected="MONOCHROME2",
            remedy="Convert the series, and check its values.",
        )
    if frames != 1:
        raise DataError(
            f"{path} has several frames, whose positions are not checked",
            received=f"{frames} frames in one file",
            expected="one slice per file",
            remedy="Convert it to NIfTI with dcm2niix, or to one file per slice with dcuncat.",
        )
    rows, columns = int(header.get("Rows", 0)), int(header.get("Columns", 0))
    bits = int(header.get("BitsAllocated", 0))
    if rows < 1 or columns < 1 or bits not in (8, 16, 32):
        raise _unusable(path, "Rows, Columns, BitsAllocated", (rows, columns, bits), "a picture of 8, 16 or 32 bits")
    n_bytes, expected = len(header.get("PixelData", b"")), rows * columns * bits // 8
    if n_bytes == 0 or (str(syntax) in _UNCOMPRESSED and not expected <= n_bytes <= expected + 1):
        raise DataError(
            f"{path} is truncated or damaged",
            received=f"{n_bytes} bytes of pixels",
            expected=f"{expected} by its header",
            remedy="Copy it again.",
        )


def _numbers(path: Path, header: Dataset, name: str, count: int) -> np.ndarray:
    value = header.get(name)
    values = np.array([] if value is None else value, float).reshape(-1)
    if len(values) != count or not np.isfinite(values).all():
        raise _unusable(path, name, "no value" if value is None else value, f"{count} finite numbers")
    return values


def _unusable(path: Path, field: str, received: object, expected: str) -> DataError:
    return DataError(
        f"{path} has an unusable {field}",
        received=received,
        expected=expected,
        remedy="Leave the file out if it does not belong to the volume; otherwise get the series again.",
    )


def _require_one(folder: Path, slices: Sequence[DicomSlice], name: str, values: Sequence[object]) -> None:
    """Checks that a value is the same in all slices, and names those where it is another."""
    common = max(values, key=values.count)
    others = [item.name for item, value in zip(slices, values, strict=True) if value != common]
    if others:
        different = sorted({str(value) for value in values if value != common})
        raise DataError(
            f"{folder} mixes images of different {name} in one series",
            received=f"{_some(different)} in {_some(others)}",
            expected=f"{common}, as in the other {len(slices) - len(others)}",
            remedy="Put the slices of one image into a folder of their own (dcm2niix separates them).",
        )


def _check_orientation(folder: Path, slices: Sequence[DicomSlice]) -> None:
    close = [np.abs(item.orientation - slices[0].orientation).max() < _SAME_ORIENTATION for item in slices]
    if sum(close) * 2 < len(slices):  # the first one is the odd one out
        close = [not is_close for is_close in close]
    others = [item for item, is_close in zip(slices, close, strict=True) if not is_close]
    if others:
        raise DataError(
            f"{folder} has {len(others)} of {len(slices)} images in another orientation, such as a localizer",
            received=_some([item.name for item in others]),
            expected="parallel slices",
            remedy="Move them out of the folder.",
        )


def _in_order(slices: Sequence[DicomSlice]) -> list[DicomSlice]:
    normal = np.cross(*slices[0].orientation)
    return sorted(slices, key=lambda item: float(item.position @ normal))


def _without_copies(folder: Path, slices: Sequence[DicomSlice]) -> list[DicomSlice]:
    """Drops slices that are there twice with equal pixels.

    Raises:
        DataError: two images at one position differ.
    """
    kept: list[DicomSlice] = []
    for item in slices:
        if not kept or np.abs(item.position - kept[-1].position).max() > _SAME_PLACE_MM:
            kept.append(item)
            continue
        other = kept[-1]
        if item.traits != other.traits or not np.array_equal(_read_pixels(item), _read_pixels(other)):
            differing = [
                f"{name} {one or 'none'} and {two or 'none'}"
                for name, one, two in zip(_ONE_PER_IMAGE, other.traits, item.traits, strict=True)
                if one != two
            ]
            raise DataError(
                f"{folder} has two images at one position: {other.name} and {item.name}",
                received="; ".join(differing) or "equal headers, different pixels",
                expected="one image at each position",
                remedy="Put the slices of one image into a folder of their own (dcm2niix separates them).",
            )
        say_once(logging.WARNING, "%s: %s is a copy of %s and is left out", folder, item.name, other.name)
    return kept


def _check_traits(folder: Path, slices: Sequence[DicomSlice]) -> None:
    for index, name in enumerate(_ONE_PER_IMAGE):
        if name not in _EXPLAINS_ONLY:
            _require_one(folder, slices, name, [item.traits[index] for item in slices])


def _grid(folder: Path, slices: Sequence[DicomSlice]) -> Geometry:
    """The grid of slices in order, each of which lies where the grid says."""
    first = slices[0]
    normal = np.cross(*first.orientation)
    if len(slices) == 1:
        if first.thickness is None or not 0 < first.thickness < math.inf:
            raise _unusable(first.path, "SliceThickness", first.thickness, "positive millimetres for a single slice")
        step = normal * first.thickness
    else:
        positions = np.array([item.position for item in slices])
        step = (positions[-1] - positions[0]) / (len(slices) - 1)
        _check_distances(folder, slices, positions @ normal)
        _check_line(folder, slices, positions, step)
        if abs(step @ normal) >= np.linalg.norm(step) * math.sqrt(1 - EXACT_COSINE**2):
            step = normal * (step @ normal)
    (row, column), (spacing_y, spacing_x) = first.orientation, first.spacing_yx
    axes = np.column_stack([row * spacing_x, column * spacing_y, step])
    spacing = (spacing_x, spacing_y, float(np.linalg.norm(step)))
    return grid_of_axes(str(folder), "slices", (len(slices), *first.size_yx), axes, first.position, spacing)


def _check_distances(folder: Path, slices: Sequence[DicomSlice], heights: np.ndarray) -> None:
    steps = np.diff(heights)
    usual = float(np.median(steps))
    if np.abs(steps - usual).max() <= 2 * place_tolerance_mm(usual):
        return
    widest = int(np.argmax(np.abs(steps - usual)))
    between = f"{slices[widest].name} and {slices[widest + 1].name}"
    multiples = steps / usual
    missing = np.rint(multiples) - 1
    if (np.abs(multiples - np.rint(multiples)) <= 0.1).all() and (missing >= 0).all():
        raise DataError(
            f"{folder} lacks slices",
            received=f"adjacent slices {steps[widest]:.3g} mm apart",
            expected=f"{usual:.3g} mm between all {len(slices)} slices",
            remedy=f"Missing: {int(missing.sum())}, as between {between}. Copy the complete series again.",
        )
    raise DataError(
        f"{folder} has slices at uneven distances, which are not a grid",
        received=f"{steps.min():.3g} to {steps.max():.3g} mm, {steps[widest]:.3g} mm between {between}",
        expected=f"{usual:.3g} mm between all {len(slices)} slices",
        remedy="Copy the complete series again; if it was scanned so, resample it to equal distances first.",
    )


def _check_line(folder: Path, slices: Sequence[DicomSlice], positions: np.ndarray, step: np.ndarray) -> None:
    """Checks each position against the grid: what adds up from slice to slice, and shifts to the side."""
    grid = positions[0] + np.arange(len(slices))[:, None] * step
    off = np.linalg.norm(positions - grid, axis=1)
    worst = int(np.argmax(off))
    if off[worst] > place_tolerance_mm(float(np.linalg.norm(step))):
        raise DataError(
            f"{folder} has slices that are not on one grid",
            received=f"{slices[worst].name} is {off[worst]:.3g} mm from its place",
            expected=f"at most {place_tolerance_mm(float(np.linalg.norm(step))):.2g} mm",
            remedy="Copy the complete series again; if it was scanned so, resample it first.",
        )


def place_tolerance_mm(step_mm: float) -> float:
    """How far a slice may be from its place on the grid, for a distance of slices, both in millimetres."""
    # Positions are often written with one decimal, whatever the distance of the slices.
    return min(max(0.05 * step_mm, 0.1), 0.2 * step_mm)


def _read_pixels(item: DicomSlice) -> np.ndarray:
    """The pixels (Y, X) after the rescaling of their header."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(item.path))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise DataError(
            f"{item.path} cannot be decoded", received=last_line(error), remedy="Copy it again."
        ) from None
    pixels = sitk.GetArrayFromImage(image)
    if pixels.size != math.prod(item.size_yx):
        raise _undecodable(item.path, f"{pixels.shape} pixels for {item.size_yx}")
    return pixels.reshape(item.size_yx)


def _undecodable(path: Path, received: str) -> DataError:
    return DataError(f"{path} cannot be decoded", received=received, remedy="Copy it again.")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
