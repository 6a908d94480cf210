"""How the volumes of a case are read: folders of DICOM files, the series of a run, and sheared grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from helpers.data.case import CaseFiles
from helpers.data.formats.dicom import dicom_folders_below
from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, read_volume
from helpers.errors import DataError, ParameterError

# Notes of a case: UID or description of its series, also per role, and whether a sheared grid may be resampled.
_SERIES, _SHEAR = "series", "allow_shear"


def dicom_folders(folder: Path) -> dict[str, Path]:
    """The folders of the cases in a folder that have DICOM files, by case.

    A case whose files are in one folder below its own is that folder; one with several is read from all of them.
    """
    children = sorted(folder.iterdir()) if folder.is_dir() else []
    found = {}
    for child in children:
        below = dicom_folders_below(child) if child.is_dir() and not child.name.startswith(".") else []
        if below:
            found[child.name] = below[0] if len(below) == 1 else child
    return found


def read_image_volume(path: Path, case: CaseFiles, role: str = "") -> Volume:
    """Reads an image of a case as its run wants it: the series that it names, a sheared grid resampled."""
    return read_volume(path, series=series_of(case, role), shear="linear" if _SHEAR in case.notes else None)


def series_of(case: CaseFiles, role: str) -> str | None:
    """The UID or description of the series that a run reads for a role of a case; None: the only one."""
    return case.notes.get(f"{_SERIES} {role}") or case.notes.get(_SERIES)


def read_label_volume(path: Path, case: CaseFiles) -> Volume:
    """Reads the truth of a case; a sheared grid is resampled if its run allows that."""
    return read_volume(path, shear="nearest" if _SHEAR in case.notes else None)


def read_mask_volume(path: Path, grid: Geometry) -> Volume:
    """Reads a mask that was written for a case with this grid."""
    return read_volume(path, shear=None if grid.sheared is None else "nearest")


def series_by_role(series: str, roles: Sequence[str]) -> dict[str, str]:
    """The series of each role, if the text names one for each: `t1 = AX T1; t2 = AX T2`; else nothing.

    Args:
        series: parameter of a run; a description without a role may contain anything.
        roles: of the images of a case.

    Raises:
        ParameterError: some roles are named and others are not, or one is named twice.

    >>> series_by_role("t1 = AX T1; t2 = AX T2 = FS", ("t1", "t2"))
    {'t1': 'AX T1', 't2': 'AX T2 = FS'}
    >>> series_by_role("AX T1", ("t1", "t2"))
    {}
    """
    parts = [part.partition("=") for part in series.split(";") if part.strip()]
    named = [(role.strip(), name.strip()) for role, equals, name in parts if equals]
    if not {role for role, _ in named} & set(roles):
        return {}
    if len(named) < len(parts) or sorted(role for role, _ in named) != sorted(roles) or not all(dict(named).values()):
        raise ParameterError(
            "series does not name one series for each image",
            received=series,
            expected="; ".join(f"{role} = <UID or description>" for role in roles),
            remedy="A description with ; in it is named by its UID.",
        )
    return {role: dict(named)[role] for role in roles}


def with_reading(cases: Sequence[CaseFiles], series: str, allow_shear: bool) -> list[CaseFiles]:
    """The cases with notes on how a run reads them.

    Args:
        cases: as they were listed.
        series: UID or description of the series to read in folders of DICOM files, or one for each role as in
            `series_by_role`; empty: the only one.
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
    chosen = [
        _notes_on_series(case, series) if is_folder else {} for case, is_folder in zip(cases, folders, strict=True)
    ]
    return [
        replace(case, notes={**case.notes, **notes, **allowed}) if notes or allowed else case
        for case, notes in zip(cases, chosen, strict=True)
    ]


def _notes_on_series(case: CaseFiles, series: str) -> dict[str, str]:
    by_role = series_by_role(series, tuple(case.files))
    if by_role:
        return {f"{_SERIES} {role}": name for role, name in by_role.items()}
    return {_SERIES: series} if series else {}
