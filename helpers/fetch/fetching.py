"""Fetches a recipe's official weights and data: what is there is checked, what is not is downloaded or explained."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from helpers.errors import CookbookError
from helpers.fetch.archive import unpack
from helpers.fetch.catalogue import DEFAULT_CATALOGUE, Disk, Item, find_sources, load_catalogue, pick_items
from helpers.fetch.download import Patience, Wanted, check_file, download, refuse_small_disk

_LOG = logging.getLogger("cookbook")

State = Literal["downloaded", "already there", "needs you", "failed"]


@dataclass(frozen=True)
class FetchedItem:
    """What became of one item; `path` is where it lies, or where it has to be put."""

    name: str
    state: State
    path: Path
    figure: str
    transferred_bytes: int = 0
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the item is there and is what it should be."""
        return self.state in ("downloaded", "already there")

    def __str__(self) -> str:
        return f"{'✓' if self.ok else '✗'} {self.name}: {self.state}, {self.figure}"


@dataclass(frozen=True)
class FetchReport:
    """What became of a recipe's items, and what disk they take."""

    recipe: str
    destination: Path
    disk: Disk
    items: tuple[FetchedItem, ...]

    @property
    def ok(self) -> bool:
        """Whether every item is there."""
        return all(item.ok for item in self.items)

    def __str__(self) -> str:
        there = sum(item.ok for item in self.items)
        disk = (
            f"  disk: {self.disk.download_gb:g} GB to download, {self.disk.unpacked_gb:g} GB unpacked, "
            f"{self.disk.our_run_gb:g} GB for a run; the source's way: {self.disk.source_pipeline}"
        )
        head = f"{self.recipe} in {self.destination}: {there} of {len(self.items)} there"
        return "\n".join([head, disk, *(f"  {item}" for item in self.items)])


def fetch(
    recipe: str,
    *,
    destination: Path,
    catalogue: Path = DEFAULT_CATALOGUE,
    only: Iterable[str] = (),
    keep_archives: bool = False,
    patience: Patience | None = None,
) -> FetchReport:
    """Brings a recipe's weights and data into a folder, and checks them.

    A failed item does not stop the others; it is in the report with its reason. Calling again goes on where the
    last call stopped.

    Args:
        recipe: name of the recipe.
        destination: the recipe's own folder; the files and folders of the catalogue appear directly in it.
        catalogue: a file like `params/sources.yaml`.
        only: `weights`, `data` or names of items; all when empty.
        keep_archives: keep a downloaded archive after unpacking; one put there by hand is always kept.
        patience: time-out, attempts and pause.

    Raises:
        ParameterError: the recipe or an item is not in the catalogue, or the catalogue is wrong.
    """
    sources = find_sources(load_catalogue(catalogue), recipe)
    items = pick_items(sources, only)
    destination = Path(destination)
    destination.mkdir(parents=True, exist_ok=True)
    fetched = []
    for item in items:
        try:
            result = _fetch_item(item, destination, keep_archives, patience)
        except CookbookError as error:
            result = FetchedItem(item.name, "failed", destination / item.file, error.line())
        _LOG.info("%s", result)
        fetched.append(result)
    return FetchReport(recipe, destination, sources.disk, tuple(fetched))


def wanted_of(item: Item) -> Wanted:
    """The digests and the size that the catalogue knows of an item."""
    digests = {name: value for name in ("md5", "sha256") if (value := getattr(item, name))}
    return Wanted(digests, item.size_bytes)


def _fetch_item(item: Item, destination: Path, keep: bool, patience: Patience | None) -> FetchedItem:
    file = destination / item.file
    folder = destination / item.folder if item.folder else None
    if folder and folder.exists():
        return FetchedItem(item.name, "already there", folder, f"unpacked in {folder}")
    if file.exists():
        digests = check_file(file, wanted_of(item))
        return _finish(item, file, folder, "already there", 0, digests)
    if item.url is None:
        return FetchedItem(item.name, "needs you", file, _steps(item, file))
    if folder and item.size_bytes:
        part_bytes = file.with_name(file.name + ".part")
        had = part_bytes.stat().st_size if part_bytes.exists() else 0
        refuse_small_disk(destination, 2 * item.size_bytes - had, f"{item.file} and what it unpacks to")
    got = download(item.url, file, wanted_of(item), patience)
    result = _finish(item, file, folder, "downloaded", got.transferred_bytes, got.digests)
    if folder and not keep:
        file.unlink()
    return result


def _finish(
    item: Item, file: Path, folder: Path | None, state: State, transferred: int, digests: Mapping[str, str]
) -> FetchedItem:
    checked = " and ".join(wanted_of(item).digests) or "no digest is published to compare with"
    figure = f"{file.stat().st_size / 1e6:.1f} MB, {checked}, sha256 {digests['sha256']}"
    if folder:
        made = unpack(file, folder)
        figure += f", {made.n_files} files unpacked in {folder}"
    return FetchedItem(item.name, state, folder or file, figure, transferred, digests)


def _steps(item: Item, file: Path) -> str:
    steps = [*item.manual, f"Put it at {file} and fetch again: it is then checked and unpacked."]
    return " ".join(f"({number}) {step}" for number, step in enumerate(steps, 1))
