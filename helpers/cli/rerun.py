"""Repeats a run from its record in an empty folder and reports which of its files are byte-identical."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers import recipes
from helpers.cli.notebook_run import run_notebook
from helpers.errors import DataError
from helpers.params.paths import anchor_output
from helpers.params.resolve import anchor_paths
from helpers.qa.finished import drop_none
from helpers.run import read_record
from helpers.run.digest import digest_file
from helpers.run.environment import describe_environment
from helpers.run.run import run_folder

_LOG = logging.getLogger("cookbook")
# The files that a run reproduces from the same inputs: the graph, the masks and the scores.
_REPRODUCIBLE = ("model.onnx", "metrics.json", "masks/*")


@dataclass(frozen=True)
class Rerun:
    """The comparison of a run with its repetition.

    Attributes:
        folder: the folder of the new run.
        equal: files that are byte-identical.
        different: files that differ, or that only one of the two runs has.
        changes: differences in the environment: versions, source, machine.
    """

    folder: Path
    equal: list[str]
    different: list[str]
    changes: list[str]

    def __str__(self) -> str:
        lines = [f"byte-identical: {len(self.equal)} of {len(self.equal) + len(self.different)} files"]
        lines += [f"different: {name}" for name in self.different]
        lines += [f"changed since: {change}" for change in self.changes]
        return "\n".join([*lines, f"new run: {self.folder}"])


def rerun(folder: Path, outputs: str | None = None) -> Rerun:
    """Runs the notebook of a finished run again with the parameters in its `run.json` and without the cache.

    Args:
        folder: the folder of the run.
        outputs: an outputs folder that does not contain the run; None: a new temporary folder.

    Raises:
        DataError: there is no run, it did not pass, or `outputs` already contains it.
        NotebookFailedError: the run does not pass this time.
    """
    before = read_record(folder)
    if before["status"] != "passed":
        raise DataError(f"the run in {folder} did not pass", received=before["status"])
    params = before["params"]
    if not isinstance(params.get("recipe"), str):
        raise DataError(f"{folder / 'run.json'} is damaged", received=f"recipe {params.get('recipe')!r}")
    given = {name: value for name, value in _set_values(params).items() if name != "recipe"}
    given |= {"outputs": anchor_output(outputs) if outputs else tempfile.mkdtemp(prefix="rerun-"), "cache": False}
    # Not the name of the old folder: its hash may come from other parameter names, or have other defaults.
    recipe = recipes.load(params["recipe"])
    _refuse_to_overwrite(run_folder(recipe.prepare_params(**given)))
    _name_relative_inputs(given, anchor_paths(given, recipe.params_model))
    new_folder = run_notebook(params["recipe"], given)
    names = sorted(_reproducible_files(folder) | _reproducible_files(new_folder))
    equal = [name for name in names if _are_equal(folder / name, new_folder / name)]
    different = [name for name in names if name not in equal]
    return Rerun(new_folder, equal, different, _list_changes(before["environment"], describe_environment()))


def _name_relative_inputs(recorded: Mapping[str, object], found: Mapping[str, object]) -> None:
    """Says which files are read for relative paths, which runs of earlier versions recorded as they were given."""
    for name, path in recorded.items():
        if path != found[name]:
            _LOG.warning(
                "the run recorded %s %s, relative to a folder it does not name: reading %s", name, path, found[name]
            )


def _set_values(params: dict[str, object]) -> dict[str, object]:
    """Drops what is not set, at every depth: a validator may refuse an explicit None."""
    values = drop_none(params)
    assert isinstance(values, dict)
    return values


def _refuse_to_overwrite(new_folder: Path) -> None:
    if new_folder.exists():
        raise DataError("the run folder already exists", received=new_folder, remedy="Name another outputs folder.")


def _reproducible_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for pattern in _REPRODUCIBLE for path in folder.glob(pattern)}


def _are_equal(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and digest_file(one) == digest_file(other)


def _list_changes(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    old, new = _flatten(before), _flatten(now)
    return [
        f"{name} {old.get(name)} → {new.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _flatten(content: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in content.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"{name} {part}".strip(): inner for part, inner in parts}
    return flat
