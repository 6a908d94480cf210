"""Writes each mask as a DICOM SEG too, if the run asks for that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.data.case_volumes import series_of
from helpers.data.formats.dicom import DicomSlice, find_slices
from helpers.data.formats.dicom_seg import Maker, check_source, write_seg
from helpers.errors import DataError
from helpers.params.model import RunParams
from helpers.recipes.base import LabelSet, Recipe
from helpers.recipes.segments import segments_of, without_code
from helpers.run import Check, Run, StageOutput
from helpers.run.digest import digest_file
from helpers.run.run import BegunStage
from helpers.stages.labels import run_labels

SUFFIX = ".dcm"


def is_wanted(params: RunParams) -> bool:
    """Whether masks are written as DICOM SEG too."""
    return params.mask_format == "dicom-seg"


def check_sources(recipe: Recipe, params: RunParams, labels: LabelSet, cases: Sequence[CaseFiles]) -> None:
    """Refuses cases of which no DICOM SEG can be written, before any work; does nothing unless the run wants them.

    Raises:
        DataError: a case is not a DICOM series, or its series cannot be referred to.
    """
    if not is_wanted(params):
        return
    segments, maker = segments_of(labels, params), _maker(recipe, params)
    for files in cases:
        role, path = next(iter(files.files.items()))
        if not path.is_dir():
            raise DataError(
                f"case {files.id} is not a DICOM series, to which a DICOM SEG could refer",
                received=path.name,
                expected="a folder of DICOM files",
                remedy="Set data_root to the DICOM series, or omit mask_format.",
            )
        check_source(path, find_slices(path, series_of(files, role))[0], segments, maker)


def write_mask_as_seg(
    recipe: Recipe, params: RunParams, labels: LabelSet, files: CaseFiles, case: Case, classes: np.ndarray, path: Path
) -> None:
    """Writes class indices (Z, Y, X) as a DICOM SEG that refers to the first of a case's series.

    Raises:
        DataError: it cannot be written, or does not read back as the same mask in the patient's coordinates.
    """
    first, *others = _slices_by_role(files)
    further = [item for slices in others for item in slices]
    segments = segments_of(labels, params)
    write_seg(path, classes, case.require_geometry(), first, segments, _maker(recipe, params), further)


def begin_seg(recipe: Recipe, run: Run, files: CaseFiles, mask: str, case_digest: str) -> BegunStage:
    """Writes the SEG of a mask of the run, or finds it; `Run.commit` records it.

    Args:
        recipe, run: a run that has the mask.
        files: of the case.
        mask: the path of its mask, relative to the run's folder.
        case_digest: of its files.
    """
    labels = run_labels(recipe, run)
    name = seg_name(files.id)

    def make(folder: Path) -> StageOutput:
        case = recipe.cases.read_case(files, run.params)
        classes = recipe.cases.read_mask(run.path(mask), case).astype(np.uint8)
        write_mask_as_seg(recipe, run.params, labels, files, case, classes, folder / name)
        segments = segments_of(labels, run.params)
        described = ", ".join(f"{each.name} ({each.kind.scheme} {each.kind.value})" for each in segments)
        facts: dict[str, object] = {"segments": described, "refers to": str(next(iter(files.files.values())).name)}
        private = without_code(segments)
        facts |= {"without a SNOMED code": ", ".join(private)} if private else {}
        checks = (Check("DICOM SEG read back in the patient's coordinates", True, "0 voxels differ"),)
        return StageOutput(checks, facts)

    inputs = {
        "case": case_digest,
        "mask": digest_file(run.require_file(mask)),
        "segments": [str(segment) for segment in segments_of(labels, run.params)],
        "maker": str(_maker(recipe, run.params)),
    }
    return run.begin(f"seg/{files.id}", f"DICOM SEG of {files.id}", inputs=inputs, make=make, code=(recipe.cases,))


def seg_name(case_id: str) -> str:
    """The path of a SEG, relative to the run's folder."""
    return f"dicom_seg/{case_id}{SUFFIX}"


def _slices_by_role(files: CaseFiles) -> list[list[DicomSlice]]:
    return [find_slices(path, series_of(files, role))[0] for role, path in files.files.items() if path.is_dir()]


def _maker(recipe: Recipe, params: RunParams) -> Maker:
    return Maker(recipe.name, f"{recipe.title}, automatic segmentation", params.short_hash())
