"""Writes the demo cases or finds the user's, and checks every case before any long computation starts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.data.truth import TruthValues, check_any_class, check_known, class_indices, count_values
from helpers.errors import DataError, StepOrderError
from helpers.params.model import RunParams
from helpers.params.part import Part
from helpers.params.paths import place_output
from helpers.params.yaml_file import nearest_name
from helpers.recipes.base import LabelSet, Recipe
from helpers.run import Check, Run, StageOutput, StageResult
from helpers.run.atomic import working_folder, write_json
from helpers.run.code import memo_folder, project_code
from helpers.run.digest import digest_file, digest_path, digest_value
from helpers.run.libraries import library_versions
from helpers.stages.dicom_seg import check_sources
from helpers.stages.labels import run_labels

# Names the files of a folder of demo cases; it is written last.
_LISTING = ".files.json"


class HasParams(Protocol):
    """A run, in progress or finished, whose parameters determine its cases."""

    @property
    def params(self) -> RunParams: ...


@dataclass(frozen=True)
class Unstarted:
    """The parameters of a run that was not started."""

    params: RunParams


def prepare_data(recipe: Recipe, run: Run) -> StageResult:
    """Writes the demo cases or lists the user's, and reads every selected case once.

    A case that cannot be used ends the run here, with one line that names the file.

    Raises:
        DataError: there are no cases, `cases` has an unknown id, or a file is missing, damaged or on another grid.
    """
    _write_or_check_source(recipe, run)
    cases = selected_cases(recipe, run)
    labels, known = run_labels(recipe, run), recipe.scoring.truth_values(run.params)
    check_sources(recipe, run.params, labels, cases)
    skipped = recipe.cases.skipped_files(data_root(recipe, run), run.params)
    digests = {case.id: digest_case(case) for case in cases}

    def make(folder: Path) -> StageOutput:
        rows = _describe_all(recipe, run, cases, labels, known)
        n_labelled = sum(case.truth is not None for case in cases)
        return StageOutput(
            checks=(Check("readable, complete, on one grid", True, f"{len(cases)} of {len(cases)} cases"),),
            facts={
                "cases": len(cases),
                "with truth": n_labelled or "0; no scores, because no case has a truth",
                **({"left out": "; ".join(skipped)} if skipped else {}),
                **{f"case {name}": row for name, row in rows.items()},
            },
            values={"cases": [case.id for case in cases], "digests": digests},
            next_step="Export the network.",
        )

    inputs = {
        "cases": digests,
        "recipe": recipe.name,
        "labels": labels.names,
        "values": {"names": sorted(known.names.items()), "ignored": known.ignored},
        "skipped": skipped,
        "rules": recipe.model.cache_key_extras(run.params),
    }
    code = (recipe.cases, type(recipe.preparation).check_case)  # how a case is prepared changes nothing here
    return run.perform("data", "Data", inputs=inputs, make=make, code=code)


def _write_or_check_source(recipe: Recipe, run: Run) -> None:
    """Writes the demo; of the user's data checks the names of calibration cases, which are not used before export."""
    params = run.params
    if params.data_root == "demo":
        write_demo_cases(recipe, run)
    elif params.calibration_cases:
        every = recipe.cases.list_cases(recipe.cases.data_folder(params), params.model_copy(update={"cases": []}))
        pick_cases(every, params.calibration_cases)


def selected_cases(recipe: Recipe, run: HasParams) -> list[CaseFiles]:
    """The cases of a run: those named by `cases`, in that order, or all; of these, the share that `part` names.

    Raises:
        DataError: a named case does not exist, or the share is empty.
        StepOrderError: the demo cases are not written yet.
    """
    params = run.params
    root = data_root(recipe, run)
    cases = recipe.cases.list_cases(root, params)
    return choose_cases(cases, params)


def choose_cases(cases: Sequence[CaseFiles], params: RunParams) -> list[CaseFiles]:
    """The cases that `cases` and `part` choose from those of a data set.

    Raises:
        DataError: a named case does not exist, or the share is empty.
    """
    named = pick_cases(cases, params.cases) if params.cases else list(cases)
    if not params.part:
        return named
    share = Part.parse(params.part).take(named, lambda case: case.id)
    if not share:
        raise DataError(f"part {params.part} has no case", received=f"{len(named)} cases in all")
    return share


def pick_cases(cases: Sequence[CaseFiles], names: Sequence[str]) -> list[CaseFiles]:
    """The named cases, in the order of the names.

    Raises:
        DataError: a named case is not among them.
    """
    by_id = {case.id: case for case in cases}
    for name in names:
        if name not in by_id:
            near = nearest_name(name, by_id)
            raise DataError(
                f"no case {name!r} in the data",
                expected=f"one of {len(by_id)} cases",
                remedy=f"Did you mean {near!r}?" if near else f"The first one is {cases[0].id!r}.",
            )
    return [by_id[name] for name in names]


def data_root(recipe: Recipe, run: HasParams) -> Path:
    """The folder with the run's cases: the demo's, or the user's.

    Raises:
        StepOrderError: the demo cases are not written yet.
    """
    return demo_root(recipe, run) if run.params.data_root == "demo" else recipe.cases.data_folder(run.params)


def example_input(recipe: Recipe, run: HasParams, files: CaseFiles) -> np.ndarray:
    """One prepared sample of a case, without batch axis."""
    case = recipe.cases.read_case(files, run.params)
    return recipe.preparation.example_input(case, run.params)


class CasesOnDemand(Sequence[Case]):
    """Cases that are read each time they are accessed, so that only one is in memory at a time."""

    def __init__(self, recipe: Recipe, run: HasParams, files: Sequence[CaseFiles]):
        self._recipe, self._run, self._files = recipe, run, files

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> Case: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Case]: ...

    def __getitem__(self, index: int | slice) -> Case | Sequence[Case]:
        if isinstance(index, slice):
            return CasesOnDemand(self._recipe, self._run, self._files[index])
        return self._read(self._files[index])

    def _read(self, files: CaseFiles) -> Case:
        return self._recipe.cases.read_case(files, self._run.params)


def demo_root(recipe: Recipe, run: HasParams, seeds: Sequence[int] | None = None) -> Path:
    """The folder with the demo cases of this run, or of other seeds.

    Raises:
        StepOrderError: they are not written yet.
    """
    root = _demo_folder(recipe, run, seeds)
    if not root.is_dir():
        raise StepOrderError(
            "the demo cases are not written yet", remedy="Run the cells in order, or stages.prepare_data first."
        )
    return root


def write_demo_cases(recipe: Recipe, run: HasParams, seeds: Sequence[int] | None = None) -> Path:
    """Writes the missing demo cases of this run, or of other seeds, and returns their folder.

    Several processes may do so at once. A file that exists is complete and is never written again: the cases are
    drawn in a folder of this process, which is renamed into place; if another one was faster, only missing files are
    moved.
    """
    root = _demo_folder(recipe, run, seeds)
    if _is_complete(root):
        return root
    with working_folder(root.parent) as work:
        made = work / root.name
        made.mkdir()
        recipe.cases.write_demo_cases(made, run.params.demo_seeds if seeds is None else seeds)
        files = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
        write_json(made / _LISTING, files)
        try:
            made.rename(root)
        except OSError:  # the folder is there already, from another process or with a file deleted since
            _move_missing(made, root, [*files, _LISTING])
    return demo_root(recipe, run, seeds)


def _is_complete(root: Path) -> bool:
    """Whether every file that was drawn is still there."""
    try:
        files = json.loads((root / _LISTING).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((root / name).is_file() for name in files)


def _move_missing(made: Path, root: Path, files: Sequence[str]) -> None:
    for name in files:
        if not (root / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(made / name, root / name)


def _demo_folder(recipe: Recipe, run: HasParams, seeds: Sequence[int] | None) -> Path:
    """The folder for demo cases, named by a hash of the code and the libraries that draw them and of the seeds."""
    seeds = list(run.params.demo_seeds if seeds is None else seeds)
    code = project_code().digest((recipe.cases,), memo_folder(run.params.outputs))
    key = digest_value({"code": code.digest, "libraries": library_versions(code.libraries), "seeds": seeds})[:8]
    return place_output(run.params.outputs) / ".demo" / f"{recipe.name}-{key}"


def digest_case(case: CaseFiles) -> str:
    """One hash over the contents of a case's files."""
    digests = {role: digest_path(path) for role, path in case.files.items()}
    if case.truth is not None:
        digests["truth"] = digest_file(case.truth)
    content = {"id": case.id, "files": digests}
    return digest_value({**content, "notes": dict(case.notes)} if case.notes else content)


def _describe_all(
    recipe: Recipe, run: Run, cases: Sequence[CaseFiles], labels: LabelSet, known: TruthValues
) -> dict[str, str]:
    """A line about each case, by its id; every case is read, and its truth checked."""
    rows: dict[str, str] = {}
    found: dict[Path | None, set[int]] = {}
    for case in cases:
        rows[case.id], found[case.truth] = _describe(recipe, run, case, labels, known)
    found.pop(None, None)
    if found:
        check_any_class(next(path for path in found if path), list(found.values()), known)
    return rows


def _describe(
    recipe: Recipe, run: Run, files: CaseFiles, labels: LabelSet, known: TruthValues
) -> tuple[str, set[int]]:
    """A line about a case, and the values of its truth, which are checked."""
    case = recipe.cases.read_case(files, run.params)
    recipe.preparation.check_case(case, run.params)
    size = " × ".join(str(axis) for axis in case.image.shape)
    parts = [size]
    if case.geometry is not None:
        parts.append("spacing " + " × ".join(f"{mm:.3g}" for mm in case.geometry.spacing_mm_zyx) + " mm")
    if files.truth is None:
        return "; ".join((*parts, "no truth", *case.remarks)), set()
    counts = count_values(class_indices(files.truth, case.require_truth()))
    check_known(files.truth, counts, known)
    text = "; ".join((*parts, _describe_truth(case, counts, labels, known), *case.remarks))
    return text, set(np.flatnonzero(counts).tolist())


def _describe_truth(case: Case, counts: np.ndarray, labels: LabelSet, known: TruthValues) -> str:
    """The size of each class in a truth."""
    found = {name: counts[label] for name, label in labels.foreground.items() if counts[label]}
    unit = "pixels" if case.geometry is None else "voxels"
    shown = [f"{name} {count:,} {unit}" for name, count in found.items()]
    ignored = sum(int(counts[value]) for value in known.ignored if value < len(counts))
    return ", ".join([*(shown or ["empty truth"]), *([f"{ignored:,} {unit} ignored"] if ignored else [])])
