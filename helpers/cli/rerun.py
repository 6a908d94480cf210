"""Does a run again from its record, in an empty folder, and says which of its files are equal to the byte."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from helpers.cli.notebook_run import run_notebook
from helpers.errors import DataError
from helpers.params.paths import place_output
from helpers.qa.finished import drop_none
from helpers.report.record import RunFolder
from helpers.run.digest import digest_file
from helpers.run.environment import describe_environment

# What a run promises to make the same from the same inputs: the graph, the masks and the scores.
_PROMISED = ("model.onnx", "metrics.json", "masks/*")


@dataclass(frozen=True)
class Rerun:
    """What came of it.

    Attributes:
        folder: of the new run.
        equal: files that are the same to the byte.
        different: files that are not, or that only one of both runs has.
        changes: what is no longer as it was: versions, source, machine.
    """

    folder: Path
    equal: list[str]
    different: list[str]
    changes: list[str]

    def __str__(self) -> str:
        lines = [f"equal to the byte: {len(self.equal)} of {len(self.equal) + len(self.different)} files"]
        lines += [f"different: {name}" for name in self.different]
        lines += [f"changed since: {change}" for change in self.changes]
        return "\n".join([*lines, f"the new run: {self.folder}"])


def rerun(folder: Path, outputs: str | None = None) -> Rerun:
    """Runs the notebook of a finished run with the parameters in its `run.json`, reusing nothing.

    Args:
        folder: of the run.
        outputs: an outputs folder without the run in it; None: a new one in the system's temporary folder.

    Raises:
        DataError: there is no run, it did not pass, or `outputs` holds it already.
        NotebookFailedError: it does not pass this time.
    """
    before = RunFolder.read(folder)
    if before.record["status"] != "passed":
        raise DataError(f"the run in {folder} did not pass", received=before.record["status"])
    params = before.record["params"]
    given = {name: value for name, value in drop_none(params).items() if name != "recipe"}
    given |= {"outputs": outputs or tempfile.mkdtemp(prefix="rerun-"), "cache": False}
    _refuse_to_overwrite(given["outputs"], params["recipe"], folder)
    folder_now = run_notebook(params["recipe"], given)
    names = sorted(_files(folder) | _files(folder_now))
    equal = [name for name in names if _same(folder / name, folder_now / name)]
    different = [name for name in names if name not in equal]
    return Rerun(folder_now, equal, different, _changes(before.record["environment"], describe_environment()))


def _refuse_to_overwrite(outputs: str, recipe: str, folder: Path) -> None:
    there = place_output(outputs) / recipe / folder.name
    if there.exists():
        raise DataError("the new run would lie over an old one", received=there, remedy="Name another folder.")


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for pattern in _PROMISED for path in folder.glob(pattern)}


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and digest_file(one) == digest_file(other)


def _changes(before: dict, now: dict) -> list[str]:
    flat_before, flat_now = _flatten(before), _flatten(now)
    names = sorted(flat_before.keys() | flat_now.keys())
    return [
        f"{name} {flat_before.get(name)} → {flat_now.get(name)}"
        for name in names
        if flat_before.get(name) != flat_now.get(name)
    ]


def _flatten(content: dict) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in content.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"{name} {part}".strip(): inner for part, inner in parts}
    return flat
