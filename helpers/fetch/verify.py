"""Checks a recipe's data set and weights before they are used."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from helpers.data.case import CaseFiles
from helpers.data.volume import Volume, read_volume
from helpers.errors import CookbookError, DataError, ParameterError
from helpers.fetch.catalogue import DEFAULT_CATALOGUE, Item, find_sources, load_catalogue
from helpers.fetch.download import check_file
from helpers.fetch.fetching import expected_file
from helpers.run.result import Check

_SECONDS_BETWEEN_LINES = 5.0
_LOG = logging.getLogger("cookbook")


@dataclass(frozen=True)
class VerifyReport:
    """The checks of a data set, and one line per problem."""

    recipe: str
    root: Path
    n_cases: int
    checks: tuple[Check, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def __str__(self) -> str:
        head = f"{self.recipe} in {self.root}: {'complete' if self.ok else _count(len(self.problems), 'problem')}"
        lines = [f"  {check}" for check in self.checks] + [f"    ✗ {line}" for line in self.problems]
        return "\n".join([head, *lines])


@dataclass(frozen=True)
class CheckedCase:
    """A case, and one line per problem."""

    name: str
    problems: tuple[str, ...]


def verify(recipe: str, root: Path, *, catalogue: Path = DEFAULT_CATALOGUE) -> VerifyReport:
    """Checks a data set in its publisher's layout, and the weights files next to it.

    Every file is read to its end, so that a truncated file is found here and not hours into a run.

    Args:
        recipe: name of the recipe.
        root: the folder that `fetch` filled, or the data set's own folder.
        catalogue: a file like `params/sources.yaml`, for the digests of the weights.

    Raises:
        ParameterError: the recipe is not in the catalogue or its layout is unknown, or `root` is not a folder.
    """
    items = find_sources(load_catalogue(catalogue), recipe).items
    root = Path(root)
    if recipe not in LAYOUTS:
        raise ParameterError(f"the layout of {recipe} is unknown", expected=", ".join(LAYOUTS))
    if not root.is_dir():
        raise ParameterError(f"{root} is not a folder", expected="a data set's folder", remedy="Fetch it first.")
    n_cases, problems = _check_cases(recipe, root)
    official = next((item.cases for item in items if item.cases), None)
    figure = f"{n_cases} checked, {_count(len(problems), 'problem')}"
    if official and n_cases != official:
        figure += f" (the official set has {official})"
    checks = [Check("cases", not problems, figure)]
    for item in items:
        if item.kind == "weights" and (root / item.file).is_file():
            check, line = _check_weights(item, root / item.file)
            checks.append(check)
            problems += [line] if line else []
    report = VerifyReport(recipe, root, n_cases, tuple(checks), tuple(problems))
    _LOG.info("%s", report)
    return report


def _check_cases(recipe: str, root: Path) -> tuple[int, list[str]]:
    n_cases, shown = 0, time.monotonic()
    problems: list[str] = []
    try:
        for case in LAYOUTS[recipe](root):
            n_cases += 1
            problems += case.problems
            if time.monotonic() - shown > _SECONDS_BETWEEN_LINES:
                shown = time.monotonic()
                _LOG.info("%s: %d cases checked, %s", recipe, n_cases, _count(len(problems), "problem"))
    except DataError as error:
        problems.append(error.line())
    return n_cases, problems


def _check_weights(item: Item, path: Path) -> tuple[Check, str | None]:
    from helpers.networks.checkpoint import load_state_dict

    try:
        digests = check_file(path, expected_file(item))
        figure = f"sha256 {digests['sha256']}"
        if item.folder is None:
            figure = f"{len(load_state_dict(path)[0])} tensors, {figure}"
    except CookbookError as error:
        return Check(item.name, False, f"{path.name} cannot be used"), error.line()
    return Check(item.name, True, figure), None


def check_brats(root: Path) -> Iterator[CheckedCase]:
    """Checks that every BraTS case has four modalities and (unless in a validation set) a seg, all on one grid.

    Raises:
        DataError: there is no case below `root`.
    """
    from helpers.data.brats import list_brats_cases, read_brats_case

    folders = sorted({path.parent for path in root.rglob("*.nii*") if not path.name.startswith(".")})
    if not folders:
        raise DataError(f"no BraTS case below {root}", expected="<case>/<case>_{t1,t1ce,t2,flair,seg}.nii.gz")
    for folder in folders:
        try:
            cases = [case for case in list_brats_cases(folder) if case.files["t1"].parent == folder]
        except DataError as error:
            yield CheckedCase(folder.name, (error.line(),))
            continue
        for case in cases:
            problems = _first_or_all(partial(read_brats_case, case), partial(_problems_of, case.all_paths()))
            place = folder.resolve().relative_to(root.resolve().parent)
            if case.truth is None and "validation" not in str(place).lower():
                problems.append(f"case {case.id} has no seg in {folder}")
            yield CheckedCase(case.id, tuple(problems))


def check_carvana(root: Path) -> Iterator[CheckedCase]:
    """Checks that every Carvana photograph has a mask of its size, and every mask a photograph, all readable.

    Raises:
        DataError: there are no photographs below `root`.
    """
    from helpers.data import carvana

    root = root / "carvana" if (root / "carvana").is_dir() else root
    cases = carvana.list_carvana_cases(root, masks=None)
    for found in cases:
        mask = root / carvana.MASKS / f"{found.id}{carvana.MASK_SUFFIX}"
        case = CaseFiles(found.id, found.files, mask)
        readers = (partial(carvana.read_image, found.files["image"]), partial(carvana.read_mask, mask))
        problems = _first_or_all(partial(carvana.read_carvana_case, case), partial(_lines_of, readers))
        yield CheckedCase(case.id, tuple(problems))
    known = {f"{case.id}{carvana.MASK_SUFFIX}" for case in cases}
    for mask in sorted((root / carvana.MASKS).glob(f"*{carvana.MASK_SUFFIX}")):
        if mask.name not in known and not mask.name.startswith("."):
            yield CheckedCase(mask.name, (f"{mask} has no photograph",))


def check_voc(root: Path) -> Iterator[CheckedCase]:
    """Checks that every id in ImageSets/Segmentation/val.txt has a photograph and a label of its size, both readable.

    Raises:
        DataError: there is no VOC data set below `root`, or its val.txt is missing or empty.
    """
    from helpers.data import voc

    for case in voc.list_voc_cases(root, "val"):
        readers = [partial(voc.read_image, case.files["image"])]
        readers += [partial(voc.read_label, case.truth)] if case.truth else []
        problems = _first_or_all(partial(voc.read_voc_case, case), partial(_lines_of, readers))
        problems += [] if case.truth else [f"case {case.id} has no label"]
        yield CheckedCase(case.id, tuple(problems))


def check_task(root: Path, task: str) -> Iterator[CheckedCase]:
    """Checks a Decathlon task: all files in dataset.json exist, are readable, on one grid, with declared labels only.

    Args:
        root: the task's folder, or the one above it.
        task: name of the task's folder, such as Task02_Heart.

    Raises:
        DataError: dataset.json is missing or does not have the Decathlon's format.
    """
    root = root / task if (root / task).is_dir() else root
    description = _read_description(root / "dataset.json")
    classes = {int(value) for value in description["labels"]}
    pairs = [(pair["image"], pair["label"]) for pair in description["training"]]
    for image, label in pairs:
        yield _check_files(root, [image, label], classes)
    if (root / "imagesTs").is_dir():
        for image in description.get("test", []):
            yield _check_files(root, [image], classes)
    named = [name for pair in pairs for name in pair] + list(description.get("test", []))
    yield from _check_unnamed(root, named)
    count = description.get("numTraining", len(pairs))
    if count != len(pairs):
        line = f"{root / 'dataset.json'} lists {len(pairs)} training cases and declares {count}"
        yield CheckedCase("dataset.json", (line,))


check_liver = partial(check_task, task="Task03_Liver")
check_heart = partial(check_task, task="Task02_Heart")


LAYOUTS: dict[str, Callable[[Path], Iterator[CheckedCase]]] = {
    "unet3d_brats": check_brats,
    "unet_carvana": check_carvana,
    "fcn_voc2012": check_voc,
    "unetpp3d_liver": check_liver,
    "nnunet_heart": check_heart,
}


def read_together(paths: Iterable[Path]) -> tuple[list[str], dict[Path, Volume]]:
    """Reads the volumes of one case.

    Returns:
        One line per file that cannot be read or is on another grid than the first, and the volumes that were read.
    """
    problems: list[str] = []
    volumes: dict[Path, Volume] = {}
    for path in paths:
        try:
            volumes[path] = read_volume(path)
        except DataError as error:
            problems.append(error.line())
            continue
        first = next(iter(volumes))
        differences = volumes[path].geometry.differences_from(volumes[first].geometry)
        if differences:
            problems.append(f"{path} is on another grid than {first.name}: {'; '.join(differences)}")
    return problems, volumes


def _problems_of(paths: Iterable[Path]) -> list[str]:
    return read_together(paths)[0]


def _first_or_all(read: Callable[[], object], list_all: Callable[[], list[str]]) -> list[str]:
    # Reading a case stops at its first problem; in that case every file is read separately.
    try:
        read()
    except DataError as error:
        return list_all() or [error.line()]
    return []


def _lines_of(readers: Iterable[Callable[[], object]]) -> list[str]:
    lines = []
    for read in readers:
        try:
            read()
        except DataError as error:
            lines.append(error.line())
    return lines


def _read_description(path: Path) -> dict:
    if not path.is_file():
        raise DataError(f"{path} does not exist", remedy="Name the folder that contains dataset.json, or its parent.")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        complete = all({"image", "label"} <= pair.keys() for pair in description["training"])
        complete = complete and all(str(value).isdigit() for value in description["labels"])
    except (ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise DataError(
            f"{path} is not the description of a Decathlon task",
            expected="JSON with labels and with training as a list of {image, label}",
            remedy="Unpack the archive again.",
        )
    return description


def _check_files(root: Path, names: list[str], classes: set[int]) -> CheckedCase:
    case = Path(names[0]).name.split(".")[0]
    outside = [name for name in names if not (root / name).resolve().is_relative_to(root.resolve())]
    if outside:
        return CheckedCase(case, tuple(f"dataset.json lists {name!r}, which is not below {root}" for name in outside))
    paths = [root / Path(name) for name in names]
    problems, volumes = read_together(paths)
    for path, volume in volumes.items():
        problems += _check_values(path, volume, classes if path in paths[1:] else None)
    return CheckedCase(case, tuple(problems))


def _check_values(path: Path, volume: Volume, classes: set[int] | None) -> list[str]:
    if classes is None:
        if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
            return [f"{path} has voxels that are NaN or infinite"]
        return []
    strange = sorted(set(np.unique(volume.array).tolist()) - classes)
    if strange:
        return [f"{path} has labels that dataset.json does not declare: {strange[:5]}"]
    return []


def _check_unnamed(root: Path, named: list[str]) -> Iterator[CheckedCase]:
    known = {(root / name).resolve() for name in named}
    for folder in ("imagesTr", "labelsTr"):
        for path in sorted((root / folder).glob("*.nii*")):
            # The official archives contain hidden files that macOS adds (._la_003.nii.gz).
            if path.resolve() not in known and not path.name.startswith("."):
                yield CheckedCase(path.name, (f"{path} is not listed in dataset.json",))


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
