"""How the volumes of a case are read: folders of DICOM files, the series of a run, and sheared grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from helpers.data.case import CaseFiles
from helpers.data.formats.dicom import is_dicom_folder
from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, read_volume
from helpers.errors import DataError

# Notes of a case: the UID or the description of its series, and whether a sheared grid may be resampled.
_SERIES, _SHEAR = "series", "allow_shear"
_DEPTH = 3  # as scanners and archives export: patient, study, series


def dicom_folders(folder: Path) -> dict[str, Path]:
    """The DICOM folders of the cases in a folder, by case: each subfolder, or the only DICOM folder below it.

    Raises:
        DataError: there are several below a subfolder.
    """
    children = sorted(folder.iterdir()) if folder.is_dir() else []
    found = {}
    for child in children:
        below = _below(child, _DEPTH) if child.is_dir() and not child.name.startswith(".") else []
        if len(below) > 1:
            raise DataError(
                f"{child} has several folders of DICOM files",
                received=", ".join(str(path.relative_to(child)) for path in below[:4]),
                expected="one per case",
                remedy="Leave one, or put the files of all series into one folder and choose with -p series.",
            )
        if below:
            found[child.name] = below[0]
    return found


def read_image_volume(path: Path, case: CaseFiles) -> Volume:
    """Reads an image of a case as its run wants it: the series that it names, a sheared grid resampled."""
    return read_volume(path, series=case.notes.get(_SERIES), shear="linear" if _SHEAR in case.notes else None)


def read_label_volume(path: Path, case: CaseFiles) -> Volume:
    """Reads the truth of a case; a sheared grid is resampled if its run allows that."""
    return read_volume(path, shear="nearest" if _SHEAR in case.notes else None)


def read_mask_volume(path: Path, grid: Geometry) -> Volume:
    """Reads a mask that was written for a case with this grid."""
    return read_volume(path, shear=None if grid.sheared is None else "nearest")


def with_reading(cases: Sequence[CaseFiles], series: str, allow_shear: bool) -> list[CaseFiles]:
    """The cases with notes on how a run reads them.

    Args:
        cases: as they were listed.
        series: UID or description of the series to read in folders of DICOM files; empty: the only one.
        allow_shear: whether a sheared volume is resampled.

    Raises:
        DataError: a series is named, and no case is a folder of DICOM files.
    """
    folders = [any(path.is_dir() for path in case.files.values()) for case in cases]
    if series and not any(folders):
        raise DataError(
            f"series {series!r} is named, and no case is a folder of DICOM files",
            remedy="Drop the parameter series, or set data_root to DICOM folders.",
        )
    allowed = {_SHEAR: "True"} if allow_shear else {}
    chosen = [{_SERIES: series} if series and is_folder else {} for is_folder in folders]
    return [
        replace(case, notes={**case.notes, **notes, **allowed}) if notes or allowed else case
        for case, notes in zip(cases, chosen, strict=True)
    ]


def _below(folder: Path, depth: int) -> list[Path]:
    if is_dicom_folder(folder):
        return [folder]
    if depth == 0:
        return []
    children = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return [found for child in children for found in _below(child, depth - 1)]
