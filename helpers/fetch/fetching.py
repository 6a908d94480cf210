"""Fetches a recipe's official weights and data: checks files that exist, and downloads or explains the others."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from helpers.errors import CookbookError
from helpers.fetch.archive import unpack
from helpers.fetch.catalogue import DEFAULT_CATALOGUE, Disk, Item, Sources, find_sources, load_catalogue, pick_items
from helpers.fetch.download import ExpectedFile, Partial, RetryPolicy, check_disk_space, check_file, download
from helpers.fetch.package import download_package
from helpers.params.paths import PARAMS_FOLDER, create_output

_LOG = logging.getLogger("cookbook")

State = Literal["downloaded", "already present", "converted", "manual download", "failed"]


@dataclass(frozen=True)
class FetchedItem:
    """The outcome for one item; `path` is its place, even if it is still missing."""

    name: str
    state: State
    path: Path
    figure: str
    transferred_bytes: int = 0
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the item is present and correct."""
        return self.state in ("downloaded", "already present", "converted")

    def __str__(self) -> str:
        return f"{'✓' if self.ok else '✗'} {self.name}: {self.state}, {self.figure}"


@dataclass(frozen=True)
class FetchReport:
    """The outcome for all items of a recipe, and the disk space that they need."""

    recipe: str
    destination: Path
    disk: Disk
    items: tuple[FetchedItem, ...]

    @property
    def ok(self) -> bool:
        """Whether every item is present and correct."""
        return all(item.ok for item in self.items)

    def __str__(self) -> str:
        present = sum(item.ok for item in self.items)
        disk = (
            f"  disk: {self.disk.download_gb:g} GB to download, {self.disk.unpacked_gb:g} GB unpacked, "
            f"{self.disk.our_run_gb:g} GB for a run; the source's own pipeline: {self.disk.source_pipeline}"
        )
        head = f"{self.recipe} in {self.destination}: {present} of {len(self.items)} present"
        return "\n".join([head, disk, *(f"  {item}" for item in self.items)])


def fetch(
    recipe: str,
    *,
    destination: Path,
    catalogue: Path = DEFAULT_CATALOGUE,
    only: Iterable[str] = (),
    keep_archives: bool = False,
    retry: RetryPolicy | None = None,
) -> FetchReport:
    """Downloads, checks and unpacks a recipe's weights and data.

    If an item fails, the report has the reason and the others are still fetched. A second call resumes downloads.

    Args:
        recipe: name of the recipe.
        destination: the recipe's own folder; files and folders of the catalogue are written directly to it.
        catalogue: a file like `params/sources.yaml`.
        only: `weights`, `data` or names of items; empty for all.
        keep_archives: keep downloaded archives after unpacking; archives that were put there by hand are always kept.
        retry: time-out, attempts and pause of a download.

    Raises:
        ParameterError: the recipe or an item is not in the catalogue, or the catalogue is not valid.
    """
    sources = find_sources(load_catalogue(catalogue), recipe)
    items = pick_items(sources, only)
    destination = create_output(Path(destination), "--to")
    fetched = []
    for item in items:
        try:
            result = _fetch_item(item, destination, keep_archives, retry)
        except CookbookError as error:
            result = FetchedItem(item.name, "failed", destination / item.file, error.line())
        _LOG.info("%s", result)
        fetched.append(result)
    if not only and all(result.ok for result in fetched):
        fetched += _prepare_example(sources, destination)
    return FetchReport(recipe, destination, sources.disk, tuple(fetched))


def _prepare_example(sources: Sources, destination: Path) -> list[FetchedItem]:
    """Converts the model of an example and puts its card next to it."""
    made = []
    if sources.conversion is not None:
        from helpers.graph.frozen_graph import convert_frozen_graph

        step, target = sources.conversion, destination / sources.conversion.target
        kinds = convert_frozen_graph(destination / step.source, target, output=step.output, shape=step.shape)
        figure = f"converted from {step.source}: {', '.join(kinds)}"
        made.append(FetchedItem("model", "converted", target, figure))
    if sources.card is not None:
        target = destination / "card.yaml"
        if not target.exists():  # the user may have changed it
            shutil.copyfile(PARAMS_FOLDER / sources.card, target)
        data = destination if any(item.kind == "data" for item in sources.items) else "YOUR_DATA"
        run = f"`cookbook run own_model -p profile cpu -p card {target} -p data_root {data}`"
        made.append(FetchedItem("card", "already present", target, run))
    return made


def expected_file(item: Item) -> ExpectedFile:
    """The digests and the size of an item, as far as the catalogue states them."""
    digests = {name: value for name in ("md5", "sha256") if (value := getattr(item, name))}
    return ExpectedFile(digests, item.size_bytes)


def _fetch_item(item: Item, destination: Path, keep: bool, retry: RetryPolicy | None) -> FetchedItem:
    file = destination / item.file
    folder = destination / item.folder if item.folder else None
    if folder and folder.exists():
        return FetchedItem(item.name, "already present", folder, f"unpacked in {folder}")
    if file.exists():
        digests = check_file(file, expected_file(item))
        return _finish(item, file, folder, "already present", 0, digests)
    if item.url is None and item.package is None:
        return FetchedItem(item.name, "manual download", file, _steps(item, file))
    if folder and item.size_bytes:
        had = Partial(file).size()
        check_disk_space(destination, 2 * item.size_bytes - had, f"{item.file} and its contents")
    if item.package is not None:
        got = download_package(item.package, file, expected_file(item))
    else:
        got = download(str(item.url), file, expected_file(item), retry)
    result = _finish(item, file, folder, "downloaded", got.transferred_bytes, got.digests)
    if folder and not keep:
        file.unlink()
    return result


def _finish(
    item: Item, file: Path, folder: Path | None, state: State, transferred: int, digests: Mapping[str, str]
) -> FetchedItem:
    checked = " and ".join(expected_file(item).digests) or "no digest is published to compare with"
    figure = f"{file.stat().st_size / 1e6:.1f} MB, {checked}, sha256 {digests['sha256']}"
    if folder:
        made = unpack(file, folder)
        figure += f", {made.n_files} files unpacked in {folder}"
    return FetchedItem(item.name, state, folder or file, figure, transferred, digests)


def _steps(item: Item, file: Path) -> str:
    steps = [*item.manual, f"Save it as {file} and fetch again to check and unpack it."]
    return " ".join(f"({number}) {step}" for number, step in enumerate(steps, 1))
