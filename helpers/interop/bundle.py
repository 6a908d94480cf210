"""The hand-over bundle: one folder that travels from export over compile and infer to score, relative paths only.

bundle.json   what it holds, with a digest of every file
model.onnx    the graph
cases/        prepared images, (C, Z, Y, X) or (C, H, W) float32, .npy
compiled/     what the device opens
answers/      labels or the graph's output, one .npy a case
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from helpers.errors import DataError, ParameterError
from helpers.inference import WindowPlan
from helpers.interop.ports import ModelPorts
from helpers.run.atomic import replace_when_whole, write_json

MANIFEST, GRAPH, FORMAT = "bundle.json", "model.onnx", 1


@dataclass(frozen=True)
class BundleCase:
    """One prepared case.

    Args:
        id: the case's own.
        image: the prepared array's file in the bundle.
        plan: windows over it; None: it is one sample.
        source_digest: of the files it was prepared from.
    """

    id: str
    image: str
    plan: WindowPlan | None
    source_digest: str

    @property
    def answer(self) -> str:
        """The answer's file in the bundle."""
        return f"answers/{PurePosixPath(self.image).name}"

    def to_json(self) -> dict:
        """The case as JSON values."""
        return asdict(self) | {"plan": self.plan.to_json() if self.plan else None}


@dataclass(frozen=True)
class BundleModel:
    """A compiled model: its target as JSON, the precision, the batch sizes in it, its files, the first to open."""

    target: Mapping[str, object]
    precision: str
    batches: tuple[int, ...] | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """A bundle's manifest and the folder it was read from.

    Args:
        folder: where it lies now; never written into it.
        recipe: name.
        params: resolved parameters, without those that name a place.
        spec: fields of the graph's spec.
        ports: of the graph at the exported batch size.
        cases: in order.
        files: digest by relative path of everything in the bundle.
        model: what `compile` made, or None.
        notes: of each answer, by its file: what it was made from, seconds.
    """

    folder: Path
    recipe: str
    params: Mapping[str, object]
    spec: Mapping[str, object]
    ports: ModelPorts
    cases: tuple[BundleCase, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    model: BundleModel | None = None
    notes: Mapping[str, Mapping] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """A file of the bundle by its relative name.

        Raises:
            DataError: the name leaves the bundle.
        """
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise DataError("a bundle names its files by relative paths", received=name)
        return self.folder / pure

    def checked(self, name: str) -> Path:
        """A file of the bundle that is as it was written.

        Raises:
            DataError: it is missing, or was changed or cut on the way.
        """
        path, expected = self.path(name), self.files.get(name)
        if expected is None or not path.is_file():
            raise DataError(f"{name} is missing in the bundle", remedy="Copy the whole folder again.")
        if digest(path) != expected:
            raise DataError(f"{name} was changed or cut on the way", remedy="Copy the whole folder again.")
        return path

    def load(self, name: str) -> np.ndarray:
        """A checked array."""
        return np.load(self.checked(name), allow_pickle=False)

    def with_files(self, *names: str, **changes: object) -> Bundle:
        """The bundle with the digests of files that were just written, and other fields changed."""
        files = {**self.files, **{name: digest(self.path(name)) for name in names}}
        return replace(self, files=files, **changes)

    def write(self) -> None:
        """Writes the manifest, last of all and whole."""
        content = {
            "format": FORMAT,
            "recipe": self.recipe,
            "params": dict(self.params),
            "spec": dict(self.spec),
            "ports": self.ports.to_json(),
            "cases": [case.to_json() for case in self.cases],
            "files": dict(self.files),
            "model": asdict(self.model) if self.model else None,
            "notes": dict(self.notes),
        }
        write_json(self.folder / MANIFEST, content)


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder.

    Raises:
        ParameterError: there is none.
        DataError: it is of another form.
    """
    if not (folder / MANIFEST).is_file():
        raise ParameterError(
            f"no hand-over bundle in {folder}",
            received="no such folder" if not folder.is_dir() else f"a folder without {MANIFEST}",
            remedy="Name the folder that `python -m helpers export` made.",
        )
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError("format")
        content["ports"] = ModelPorts.from_json(content["ports"])
        content["cases"] = tuple(_read_case(case) for case in content["cases"])
        content["model"] = _read_model(content["model"])
        return Bundle(folder=folder, **content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"no hand-over bundle in {folder}",
            received=type(error).__name__,
            expected=f"{MANIFEST} of format {FORMAT}",
            remedy="Name the folder that `python -m helpers export` made.",
        ) from None


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes an array as `.npy`, whole or not at all."""
    with replace_when_whole(path) as temporary, open(temporary, "wb") as stream:
        np.save(stream, np.ascontiguousarray(array), allow_pickle=False)


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_case(content: dict) -> BundleCase:
    plan = content.pop("plan")
    return BundleCase(**content, plan=WindowPlan.from_json(plan) if plan else None)


def _read_model(content: dict | None) -> BundleModel | None:
    if content is None:
        return None
    batches = tuple(content["batches"]) if content["batches"] else None
    return BundleModel(content["target"], content["precision"], batches, tuple(content["files"]))
