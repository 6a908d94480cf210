"""Writes a mask as a DICOM SEG that refers to the series of its case, and reads it back by the patient's coordinates.

`highdicom` writes; the reading stands on the header of each frame alone, so that a frame that was mirrored, turned or
moved is found whatever wrote it. Source: DICOM PS3.3, A.51 and C.8.20.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers import __version__
from helpers.data.formats.dicom import DicomSlice, place_tolerance_mm, quiet_pydicom, read_headers
from helpers.data.geometry import Geometry
from helpers.data.shear import resample
from helpers.errors import CookbookError, DataError, last_line
from helpers.run.atomic import atomic_path
from helpers.run.said import say_once

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MANUFACTURER = "segmentation deployment cookbook"
# Required in every SEG; a series without them cannot be referred to.
_NEEDED = ("FrameOfReferenceUID", "SOPClassUID", "SOPInstanceUID", "Modality")
# Blank where a series was anonymised thoroughly; the SEG then has its own, made from the first instance's UID.
_BLANK_AT_TIMES = ("StudyInstanceUID", "SeriesInstanceUID")
# Of the patient and the study, copied into the SEG; required, but allowed to be empty.
_COPIED = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID")
_COPIED_LATER = ("StudyDate", "StudyTime", "ReferringPhysicianName")
_SERIES_NUMBERS_APART = 1000


@dataclass(frozen=True)
class Code:
    """A coded concept: its value, the scheme that defines it (SCT is SNOMED CT), and its meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Segment:
    """One class of a mask as DICOM describes it.

    Attributes:
        number: the class index, from 1 on.
        name: of the class.
        category, kind: what it is, roughly and exactly.
        region: where it is in the body, or None.
    """

    number: int
    name: str
    category: Code
    kind: Code
    region: Code | None = None


@dataclass(frozen=True)
class Maker:
    """What made a mask.

    Attributes:
        name: of the model.
        title: description of the series.
        parameters: short hash of the parameters, in place of a serial number.
    """

    name: str
    title: str
    parameters: str


def check_source(folder: Path, slices: Sequence[DicomSlice], segments: Sequence[Segment], maker: Maker) -> None:
    """Builds a SEG of one empty slice, so that a series that cannot be referred to is refused before any work.

    Args:
        folder: of the series, for messages.
        slices, segments, maker: as for `write_seg`.

    Raises:
        DataError: a header lacks what a SEG needs or has values that it must not have, or two slices have one UID.
    """
    headers = _headers_of(slices)
    for item, header in zip(slices, headers, strict=True):
        missing = [name for name in _NEEDED if not header.get(name)]
        if missing:
            raise DataError(
                f"{item.path} cannot be referred to by a DICOM SEG",
                received=f"no {', '.join(missing)}",
                remedy="Get the original series, or omit mask_format.",
            )
    if len({item.uid for item in slices}) < len(slices):
        raise DataError(
            f"{folder} has several slices of one SOPInstanceUID, which a DICOM SEG needs to name them",
            received=f"{len({item.uid for item in slices})} UIDs of {len(slices)} slices",
            remedy="Get the original series, or omit mask_format.",
        )
    with _refused(f"{folder} cannot be referred to by a DICOM SEG"):
        empty = np.zeros((1, *slices[0].size_yx), np.uint8)
        _segmentation(headers[:1], empty, 1.0, segments, maker)


def write_seg(
    path: Path,
    classes: np.ndarray,
    grid: Geometry,
    slices: Sequence[DicomSlice],
    segments: Sequence[Segment],
    maker: Maker,
    others: Sequence[DicomSlice] = (),
) -> None:
    """Writes class indices as a binary DICOM SEG, and refuses it if it does not read back as the same mask.

    Args:
        path: of the file; nothing is left there if it is refused.
        classes: (Z, Y, X) uint8 on `grid`.
        grid: of the case; a mask of a sheared series returns to the series' own grid.
        slices: of the series, as `find_slices` sorts them.
        segments: every class but the background.
        maker: what made the mask.
        others: slices of further series that the mask was made from; those of another study are left out.

    Raises:
        DataError: a header has values that a SEG must not have, or the file differs from the mask.
    """
    if grid.sheared is not None:
        classes, grid = resample(classes, grid, grid.sheared, "nearest"), grid.sheared
    headers = _headers_of(slices)
    further = [each for each in read_headers(others) if each.get("StudyInstanceUID") == headers[0].StudyInstanceUID]
    with atomic_path(path) as temporary:
        with _refused(f"{path.name} cannot be written as a DICOM SEG"):
            seg = _segmentation(headers, classes, grid.spacing_mm_zyx[0], segments, maker, further)
            seg.save_as(temporary)
        uids = {item.uid: index for index, item in enumerate(slices)}
        differing = int(np.count_nonzero(read_seg(temporary, grid, uids) != classes))
        if differing:
            raise DataError(
                f"the DICOM SEG {path.name} does not agree with its mask",
                received=f"{differing:,} voxels differ in the patient's coordinates",
                expected="0",
            )


def read_seg(path: Path, grid: Geometry, uids: dict[str, int]) -> np.ndarray:
    """The class indices (Z, Y, X) that a SEG has on a grid, each pixel placed by the header of its own frame.

    Args:
        path: of a binary SEG.
        grid: on whose voxels its pixels must lie.
        uids: of the slices (SOPInstanceUID) to their index; each frame must refer to the slice that it lies on.

    Raises:
        DataError: a pixel lies between voxels or outside of the grid, two segments share a voxel, or a frame refers
            to another slice.
    """
    from pydicom.pixels.utils import iter_pixels

    header = quiet_pydicom().dcmread(path)
    shared = header.SharedFunctionalGroupsSequence[0]
    labels = np.zeros(grid.size_zyx, np.uint8)
    for frame, own in zip(iter_pixels(header), header.PerFrameFunctionalGroupsSequence, strict=True):
        rows, columns = np.nonzero(frame)
        position, row, column = _plane_of(shared, own)
        places = position[:, None] + row[:, None] * columns + column[:, None] * rows
        indices = _voxels_of(path, places, grid)
        number = int(_group(shared, own, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        _check_reference(path, own, uids, set(indices[0].tolist()))
        if labels[tuple(indices)].any():
            raise DataError(f"{path.name} has two segments in one voxel", received=f"segment {number}")
        labels[tuple(indices)] = number
    return labels


def _plane_of(shared: Dataset, own: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first pixel of a frame, and the steps to the next column and to the next row, LPS millimetres."""
    position = np.array(_group(shared, own, "PlanePositionSequence").ImagePositionPatient, float)
    directions = _group(shared, own, "PlaneOrientationSequence").ImageOrientationPatient
    row, column = np.array(directions, float).reshape(2, 3)
    between_rows, between_columns = map(float, _group(shared, own, "PixelMeasuresSequence").PixelSpacing)
    return position, row * between_columns, column * between_rows


def _group(shared: Dataset, own: Dataset, name: str) -> Any:
    """A functional group of a frame: its own, or the one that all frames share."""
    return (own if name in own else shared)[name].value[0]


def _voxels_of(path: Path, places: np.ndarray, grid: Geometry) -> np.ndarray:
    """The indices (3, N) in Z, Y, X of the voxels at places (3, N)."""
    affine = grid.affine_lps()
    exact = np.linalg.solve(affine[:3, :3], places - affine[:3, 3:])[::-1]
    nearest = np.rint(exact).astype(int)
    size, spacing = np.array(grid.size_zyx)[:, None], np.array(grid.spacing_mm_zyx)[:, None]
    if not ((nearest >= 0) & (nearest < size)).all():
        raise DataError(f"{path.name} has pixels outside of the volume", expected="pixels on its voxels")
    off = float(np.linalg.norm((exact - nearest) * spacing, axis=0).max(initial=0.0))
    if off > 1e-3 + place_tolerance_mm(grid.spacing_mm_zyx[0]):
        raise DataError(f"{path.name} has pixels between the voxels", received=f"{off:.3g} mm off")
    return nearest


def _check_reference(path: Path, own: Dataset, uids: dict[str, int], found: set[int]) -> None:
    source = own.DerivationImageSequence[0].SourceImageSequence[0]
    referred = uids.get(str(source.ReferencedSOPInstanceUID), -1)
    if referred < 0 or not found <= {referred}:
        raise DataError(
            f"{path.name} has a frame that refers to another slice than it lies on",
            received=f"slice {referred}",
            expected=", ".join(map(str, sorted(found))) or "a slice of the series",
        )


def _segmentation(
    headers: Sequence[Dataset],
    classes: np.ndarray,
    step_mm: float,
    segments: Sequence[Segment],
    maker: Maker,
    further: Sequence[Dataset] = (),
) -> Dataset:
    """The object, not written yet; its frames have the positions of the slices they were drawn on."""
    hd = _quiet_highdicom()
    first = headers[0]
    _fill_what_may_be_empty(first)
    return hd.seg.Segmentation(
        source_images=headers,
        pixel_array=classes,
        segmentation_type="BINARY",
        segment_descriptions=[_described(segment, maker) for segment in segments],
        series_instance_uid=hd.UID(),
        series_number=int(first.get("SeriesNumber") or 0) + _SERIES_NUMBERS_APART,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=maker.name[:64],
        software_versions=__version__,
        device_serial_number=maker.parameters,
        pixel_measures=hd.PixelMeasuresSequence(
            pixel_spacing=[float(value) for value in first.PixelSpacing],
            slice_thickness=float(first.get("SliceThickness") or step_mm),
            spacing_between_slices=step_mm if len(headers) > 1 else None,
        ),
        content_label="SEGMENTATION",
        series_description=maker.title[:64],
        further_source_images=list(further) or None,
        specific_character_set="ISO_IR 192",
    )


@functools.cache
def _quiet_highdicom() -> ModuleType:
    """The writer, without its remarks: on values of the source that are odd, and on masks without foreground."""
    import highdicom

    logging.getLogger("highdicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"highdicom|helpers\.data\.formats\.dicom_seg")
    return highdicom


def _headers_of(slices: Sequence[DicomSlice]) -> list[Dataset]:
    """The headers of a series, with a study and a series of their own if these are blank."""
    from pydicom.uid import generate_uid

    headers = read_headers(slices)
    blank = [name for name in _BLANK_AT_TIMES if not any(header.get(name) for header in headers)]
    for name in blank:
        uid = generate_uid(entropy_srcs=[slices[0].uid, name])
        for header in headers:
            setattr(header, name, uid)
    if blank:
        text = "%s: its %s are blank; its DICOM SEG refers to its instances and has a study of its own"
        say_once(logging.WARNING, text, slices[0].path.parent, " and ".join(blank))
    return headers


def _fill_what_may_be_empty(header: Dataset) -> None:
    for name in (*_COPIED, *_COPIED_LATER):
        if name not in header:
            setattr(header, name, "" if name in _COPIED else None)


def _described(segment: Segment, maker: Maker) -> Any:
    from pydicom.sr.codedict import codes

    hd = _quiet_highdicom()

    def coded(code: Code) -> Any:
        return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)

    return hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.name,
        segmented_property_category=coded(segment.category),
        segmented_property_type=coded(segment.kind),
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            maker.name[:64], codes.DCM.ArtificialIntelligence, __version__
        ),
        anatomic_regions=[coded(segment.region)] if segment.region else None,
    )


@contextmanager
def _refused(problem: str) -> Iterator[None]:
    """Turns what `highdicom` says of a value into one line; which error it raises depends on the value."""
    try:
        yield
    except CookbookError:
        raise
    except Exception as error:
        remedy = "Correct this value in the series, or omit mask_format."
        raise DataError(problem, received=last_line(error), remedy=remedy) from None
