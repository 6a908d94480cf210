"""Says whether a recipe's data set, and the weights beside it, are whole before any work is spent on them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import CookbookError, DataError, ParameterError
from helpers.fetch import decathlon, layouts
from helpers.fetch.catalogue import DEFAULT_CATALOGUE, Item, find_sources, load_catalogue
from helpers.fetch.download import check_file
from helpers.fetch.fetching import wanted_of
from helpers.fetch.layouts import CheckedCase
from helpers.run.result import Check

_LOG = logging.getLogger("cookbook")
_SECONDS_BETWEEN_LINES = 5.0

LAYOUTS: dict[str, Callable[[Path], Iterator[CheckedCase]]] = {
    "unet3d_brats": layouts.check_brats,
    "unet_carvana": layouts.check_carvana,
    "fcn_voc2012": layouts.check_voc,
    "unetpp3d_liver": decathlon.check_liver,
    "nnunet_heart": decathlon.check_heart,
}


@dataclass(frozen=True)
class VerifyReport:
    """What was looked at, and every problem that was found, one line each."""

    recipe: str
    root: Path
    n_cases: int
    checks: tuple[Check, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def __str__(self) -> str:
        head = f"{self.recipe} in {self.root}: {'whole' if self.ok else _count(len(self.problems), 'problem')}"
        lines = [f"  {check}" for check in self.checks] + [f"    ✗ {line}" for line in self.problems]
        return "\n".join([head, *lines])


def verify(recipe: str, root: Path, *, catalogue: Path = DEFAULT_CATALOGUE) -> VerifyReport:
    """Looks through a data set in its publisher's layout, and checks the weights files that lie beside it.

    Every file is read to its end, so a truncated one is found here and not after hours.

    Args:
        recipe: name of the recipe.
        root: where `fetch` put the recipe's files, or the data set's own folder.
        catalogue: a file like `params/sources.yaml`, for the digests of the weights.

    Raises:
        ParameterError: the recipe is not in the catalogue, has no layout here, or `root` is no folder.
    """
    items = find_sources(load_catalogue(catalogue), recipe).items
    root = Path(root)
    if recipe not in LAYOUTS:
        raise ParameterError(f"no layout is known for {recipe}", expected=", ".join(LAYOUTS))
    if not root.is_dir():
        raise ParameterError(f"{root} is no folder", expected="a data set's folder", remedy="Fetch it first.")
    n_cases, problems = _look_through(recipe, root)
    official = next((item.cases for item in items if item.cases), None)
    figure = f"{n_cases} looked at, {_count(len(problems), 'problem')}"
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


def _look_through(recipe: str, root: Path) -> tuple[int, list[str]]:
    n_cases, problems, shown = 0, [], time.monotonic()
    try:
        for case in LAYOUTS[recipe](root):
            n_cases += 1
            problems += case.problems
            if time.monotonic() - shown > _SECONDS_BETWEEN_LINES:
                shown = time.monotonic()
                _LOG.info("%s: %d cases looked at, %s", recipe, n_cases, _count(len(problems), "problem"))
    except DataError as error:
        problems.append(error.line())
    return n_cases, problems


def _check_weights(item: Item, path: Path) -> tuple[Check, str | None]:
    from helpers.networks.checkpoint import load_state_dict

    try:
        digests = check_file(path, wanted_of(item))
        figure = f"sha256 {digests['sha256']}"
        if item.folder is None:
            figure = f"{len(load_state_dict(path)[0])} tensors, {figure}"
    except CookbookError as error:
        return Check(item.name, False, f"{path.name} cannot be used"), error.line()
    return Check(item.name, True, figure), None


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
