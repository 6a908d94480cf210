"""Data sets looked through case by case in their publishers' layouts: every problem of every case, one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.data.volume import Volume, read_volume
from helpers.errors import DataError


@dataclass(frozen=True)
class CheckedCase:
    """A case that was looked at, and what is wrong with it."""

    name: str
    problems: tuple[str, ...]


def check_brats(root: Path) -> Iterator[CheckedCase]:
    """BraTS: four modalities and, outside a validation set, a seg; all readable and on one grid.

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
            problems = _first_or_all(
                lambda case=case: read_brats_case(case),
                lambda case=case: read_together(case.all_paths())[0],
            )
            place = folder.resolve().relative_to(root.resolve().parent)
            if case.truth is None and "validation" not in str(place).lower():
                problems.append(f"case {case.id} has no seg in {folder}")
            yield CheckedCase(case.id, tuple(problems))


def check_carvana(root: Path) -> Iterator[CheckedCase]:
    """Carvana: each photograph has a mask of its size, each mask a photograph, all readable.

    Raises:
        DataError: there is no photograph below `root`.
    """
    from helpers.data import carvana

    root = root / "carvana" if (root / "carvana").is_dir() else root
    cases = carvana.find_cases(root, masks=None)
    for found in cases:
        mask = root / carvana.MASKS / f"{found.case_id}{carvana.MASK_SUFFIX}"
        case = carvana.CarvanaCase(found.case_id, found.image, mask)
        readers = (lambda c=case: carvana.read_image(c.image), lambda c=case: carvana.read_mask(c.mask))
        problems = _first_or_all(lambda c=case: carvana.read_case(c), lambda r=readers: _lines_of(r))
        yield CheckedCase(case.case_id, tuple(problems))
    known = {f"{case.case_id}{carvana.MASK_SUFFIX}" for case in cases}
    for mask in sorted((root / carvana.MASKS).glob(f"*{carvana.MASK_SUFFIX}")):
        if mask.name not in known and not mask.name.startswith("."):
            yield CheckedCase(mask.name, (f"{mask} has no photograph",))


def check_voc(root: Path) -> Iterator[CheckedCase]:
    """VOC: each id of ImageSets/Segmentation/val.txt has a photograph and a label of its size, all readable.

    Raises:
        DataError: there is no VOC data set below `root`, or its val.txt is missing or names nothing.
    """
    from helpers.data import voc

    folder = voc.find_voc_folder(root)
    for case_id in voc.list_cases(root, "val"):
        image = folder / voc.IMAGES / f"{case_id}.jpg"
        label = folder / voc.LABELS / f"{case_id}.png"
        readers = (lambda path=image: voc.read_image(path), lambda path=label: voc.read_label(path))
        problems = _first_or_all(lambda c=case_id: voc.read_case(root, c), lambda r=readers: _lines_of(r))
        yield CheckedCase(case_id, tuple(problems))


def read_together(paths: Iterable[Path]) -> tuple[list[str], dict[Path, Volume]]:
    """Reads the volumes of one case; what cannot be read and what lies on another grid than the first is named."""
    problems, volumes = [], {}
    for path in paths:
        try:
            volumes[path] = read_volume(path)
        except DataError as error:
            problems.append(error.line())
            continue
        first = next(iter(volumes))
        differences = volumes[path].geometry.differences_from(volumes[first].geometry)
        if differences:
            problems.append(f"{path} lies on another grid than {first.name}: {'; '.join(differences)}")
    return problems, volumes


def _first_or_all(read: Callable[[], object], list_all: Callable[[], list[str]]) -> list[str]:
    # Reading stops at a case's first fault; only then is it worth looking at every file by itself.
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
