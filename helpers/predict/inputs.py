"""The INPUT of `cookbook predict`: a folder of cases, a list of files, or one volume or photograph."""

from __future__ import annotations

import contextlib
import csv
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from helpers.errors import DataError
from helpers.params.paths import find_input

_LISTS = (".txt", ".csv", ".json")
_COLUMNS = ("file", "path", "image")


@contextlib.contextmanager
def open_input(name: str) -> Iterator[Path]:
    """Yields a folder that a recipe lists its cases in: the given one, or one of links to the named files.

    Args:
        name: a folder, a file of one case, or a list (.txt: one path a line; .csv: the column `file`, `path` or
            `image`, or the first; .json: paths, or objects with one of these keys). Its paths are relative to it.

    Raises:
        ParameterError: there is no such path.
        DataError: the list is damaged or empty, or names a missing file or the same file name twice.
    """
    path = find_input(name, parameter="INPUT")
    if path.is_dir():
        yield path
        return
    files = [path.parent / line for line in _read_list(path)] if path.suffix.lower() in _LISTS else [path]
    with tempfile.TemporaryDirectory(prefix="cookbook-input-") as folder:
        for file in files:
            _link(file.expanduser(), Path(folder), path)
        yield Path(folder)


def _link(file: Path, folder: Path, source: Path) -> None:
    if not file.exists():
        raise DataError(f"{source.name} names a file that does not exist", received=str(file))
    link = folder / file.name
    if link.is_symlink():
        raise DataError(
            f"{source.name} names two files {file.name}",
            received=f"{link.resolve()}, {file.resolve()}",
            remedy="Rename one of them: a mask has the name of its case.",
        )
    link.symlink_to(file.resolve())


def _read_list(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = {".json": _from_json, ".csv": _from_csv}.get(path.suffix.lower(), _from_text)(text)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{path} is not a list of files", received=f"{type(error).__name__}: {error}") from None
    if not lines:
        raise DataError(f"{path} names no file")
    return lines


def _from_text(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _from_csv(text: str) -> list[str]:
    rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    names = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = next((names.index(name) for name in _COLUMNS if name in names), None)
    return [row[column or 0].strip() for row in rows[column is not None :]]


def _from_json(text: str) -> list[str]:
    found: list[str] = []
    for entry in json.loads(text):
        for item in entry if isinstance(entry, list) else [entry]:
            value = next(item[name] for name in _COLUMNS if name in item) if isinstance(item, dict) else item
            if not isinstance(value, str):
                raise TypeError(f"{value!r} is not a path")
            found.append(value)
    return found
