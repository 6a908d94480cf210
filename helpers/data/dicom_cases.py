"""Folders of DICOM files as cases: where they are, and which of their series is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from helpers.data.case import CaseFiles
from helpers.data.formats.dicom import is_dicom_folder
from helpers.errors import DataError

SERIES = "series"  # the note of a case with the UID or the description of its series
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


def choose_series(cases: Sequence[CaseFiles], series: str) -> list[CaseFiles]:
    """The cases with the series that a run names; empty: none is named.

    Raises:
        DataError: a series is named, and no case is a folder of DICOM files.
    """
    folders = [any(path.is_dir() for path in case.files.values()) for case in cases]
    if series and not any(folders):
        raise DataError(
            f"series {series!r} is named, and no case is a folder of DICOM files",
            remedy="Drop the parameter series, or set data_root to DICOM folders.",
        )
    return [
        replace(case, notes={**case.notes, SERIES: series}) if series and is_folder else case
        for case, is_folder in zip(cases, folders, strict=True)
    ]


def _below(folder: Path, depth: int) -> list[Path]:
    if is_dicom_folder(folder):
        return [folder]
    if depth == 0:
        return []
    children = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return [found for child in children for found in _below(child, depth - 1)]
