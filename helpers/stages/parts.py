"""Joins runs of parts of a data set into one run: it takes their masks and makes everything else itself."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from helpers.errors import CookbookError, DataError, ParameterError, explain_damage
from helpers.params.model import RunParams
from helpers.params.part import Part
from helpers.recipes.base import Recipe
from helpers.run import Run, read_run_status
from helpers.run.digest import digest_file
from helpers.run.record import read_record
from helpers.stages.data import Unstarted, selected_cases, write_demo_cases

_INFER = "infer/"
_OWN = {"part", "merged_from", "outputs", "cache", "interactive", "devices", "cases_in_flight", "on_error"}
_OWN |= {"engine", "ray_address", "ray_actors"}
_NAMED = 3  # cases in an error


@dataclass(frozen=True)
class PartRun:
    """A finished run of one part.

    Attributes:
        folder: of the run.
        part: which of how many.
        params: as recorded.
        stages: the stages of its record, by name.
    """

    folder: Path
    part: Part
    params: Mapping[str, Any]
    stages: Mapping[str, Any]

    def __str__(self) -> str:
        return f"part {self.part} in {self.folder.name}"

    @property
    def cases(self) -> list[str]:
        """Ids of the cases whose masks the run has."""
        return [name.removeprefix(_INFER) for name in self.stages if name.startswith(_INFER)]


def read_parts(folders: Sequence[Path]) -> list[PartRun]:
    """Reads part runs in the order of their parts, and checks that they belong together.

    Raises:
        DataError: one did not pass or is no part, a part is there twice, or their parameters differ.
    """
    parts = sorted(map(_read_part, dict.fromkeys(folders)), key=lambda run: run.part.number)
    first = parts[0]
    for before, run in itertools.pairwise(parts):
        if run.part.count != first.part.count:
            raise DataError("the runs are parts of different splits", received=f"{first.part} and {run.part}")
        if run.part == before.part:
            raise DataError(f"part {run.part} is there twice", received=f"{before.folder} and {run.folder}")
        different = sorted(name for name in {*run.params, *first.params} - _OWN if _differs(name, run, first))
        if different:
            raise DataError(
                f"the {first} and the {run} have different parameters",
                received=", ".join(f"{name} {_of(first, name)} and {_of(run, name)}" for name in different[:_NAMED]),
                expected="one model, one data set and the same settings",
            )
    return parts


def whole_params(parts: Sequence[PartRun], given: Mapping[str, object]) -> dict[str, object]:
    """The parameters of the run that the parts belong to.

    Args:
        parts: as `read_parts` returns them.
        given: what the user sets; only places and display can be set.

    Raises:
        ParameterError: `given` changes a result, or the parts are in several outputs folders and it names none.
    """
    first = parts[0]
    changed = sorted(set(given) - (RunParams.NOT_HASHED - _OWN | {"outputs", "cache", "interactive"}))
    if changed:
        raise ParameterError("the parts determine this parameter", received=changed[0], remedy="Omit it.")
    outputs = {str(run.params.get("outputs")) for run in parts}
    if "outputs" not in given and (len(outputs) > 1 or len({run.folder.parent for run in parts}) > 1):
        raise ParameterError("the parts are in several outputs folders", remedy="Add `-p outputs FOLDER`.")
    kept = {name: value for name, value in first.params.items() if name not in _OWN}
    where = {"outputs": str(first.folder.parents[1]), "merged_from": [str(run.folder) for run in parts]}
    return {**kept, **where, **given}


def check_cover(recipe: Recipe, params: RunParams, parts: Sequence[PartRun]) -> None:
    """Checks that every case is in one part, the one that it belongs to.

    Raises:
        DataError: a part is missing, or was made when the data set had other cases.
    """
    whole = Unstarted(params.model_copy(update={"part": "", "merged_from": []}))
    if params.data_root == "demo":
        write_demo_cases(recipe, whole)
    ids = [case.id for case in selected_cases(recipe, whole)]
    found = {run.part: run for run in parts}
    count = parts[0].part.count
    expected = {part: part.take(ids, str) for part in (Part(number, count) for number in range(1, count + 1))}
    missing = [f"{part} ({_some(cases)})" for part, cases in expected.items() if cases and part not in found]
    if missing:
        raise DataError(f"{len(missing)} of {count} parts are missing", received=f"no {', '.join(missing[:_NAMED])}")
    for part, run in found.items():
        if sorted(run.cases) != expected[part]:
            others = sorted(set(run.cases) ^ set(expected[part]))
            raise DataError(
                f"the {run} does not have the cases that this part has now",
                received=f"a difference in {_some(others)}",
                remedy="Run the parts again: the data set has changed.",
            )


def take_parts(recipe: Recipe, run: Run) -> None:
    """Lets a run take the masks of the part runs in `merged_from`; it then makes none itself.

    Raises:
        CookbookError: the parts do not fit together, are incomplete, or a mask was changed or deleted.
    """
    if not run.params.merged_from:
        return
    try:
        if not run.params.cache:
            raise ParameterError("a merged run reuses results", received="cache off", remedy="Set cache: on.")
        parts = read_parts([Path(folder) for folder in run.params.merged_from])
        check_cover(recipe, run.params, parts)
        for part in parts:
            for case in part.cases:
                _take_mask(run, part, _INFER + case)
    except CookbookError as error:
        run.fail(error)
        raise
    run.taken = {_INFER + case: str(part) for part in parts for case in part.cases}


def _take_mask(run: Run, part: PartRun, stage: str) -> None:
    """Puts a mask of a part run into this run's store, unless it is there."""
    path = part.folder / ".stages" / f"{stage}.json"
    with explain_damage(path, f"Run part {part.part} again."):
        placed = json.loads(path.read_text(encoding="utf-8"))
        key, files = str(placed["key"]), {str(name): str(digest) for name, digest in placed["files"].items()}
        kept = part.stages[stage]
        result = {
            "status": "made",
            "checks": [[check["name"], check["figure"]] for check in kept["checks"]],
            "facts": [[name, value] for name, value in kept["facts"].items()],
            **{name: kept[name] for name in ("values", "next_step", "timings", "simulated")},
            "pictures": [],
        }
    for name, digest in files.items():
        pure, source = PurePosixPath(name), part.folder / name
        outside = pure.is_absolute() or ".." in pure.parts
        if outside or not source.is_file() or digest_file(source) != digest:
            raise DataError(f"{name} of the {part} was changed or deleted", remedy=f"Run part {part.part} again.")
    if not key.isalnum() or run.store.find(key) is not None:
        return
    with run.store.working_folder() as folder:
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part.folder / name, folder / name)
        run.store.keep(key, folder, result)


def _read_part(folder: Path) -> PartRun:
    record = read_record(folder)
    status, reason = read_run_status(folder / "run.json")
    params, stages = record["params"], record["stages"]
    try:
        part = Part.parse(str(params.get("part") or ""))
    except ValueError:
        raise DataError(f"the run in {folder} is no part", remedy="Use `-p part 1/3` and so on.") from None
    if status != "passed":
        raise DataError(f"part {part} in {folder} is {status}", received=reason, remedy="Run it again, then merge.")
    return PartRun(folder, part, params, stages)


def _differs(name: str, one: PartRun, other: PartRun) -> bool:
    return name not in RunParams.NOT_HASHED and one.params.get(name) != other.params.get(name)


def _of(run: PartRun, name: str) -> object:
    return run.params.get(name, "not set")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
