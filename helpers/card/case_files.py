"""Finds, reads and writes the files of a card's cases: patterns, pictures, volumes and masks."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import numpy as np

from helpers.card.reading import true_values
from helpers.card.schema import CASE, ModelCard
from helpers.data import voc
from helpers.data.case import Case, CaseFiles
from helpers.data.case_volumes import read_image_volume, read_mask_volume
from helpers.data.files import refuse_broken
from helpers.data.formats.dicom import dicom_folders_below
from helpers.data.geometry import Geometry, check_same_grid
from helpers.data.picture import is_deep, open_picture, refuse_lossy, rgb_of, say_turned, write_png
from helpers.data.truth import whole_labels
from helpers.data.volume import Volume, write_volume
from helpers.errors import DataError

IGNORED = 255  # the class index of voxels that no score counts
_CARD = "card"  # the note of a case that its masks are written and read by


def list_card_cases(card: ModelCard, root: Path, names: Iterable[str] = ()) -> list[CaseFiles]:
    """The cases below a data root, sorted by id.

    Args:
        card: has the file patterns.
        root: the folder that they start from.
        names: the cases that will run; the files of others may be missing. Empty: all.

    Raises:
        DataError: no file fits, or a case lacks a file.
    """
    patterns = card.data.files
    first, *others = patterns
    truths = find_cases(root, card.data.truth) if card.data.truth else {}
    masks = set(truths.values())
    found = {name: path for name, path in find_cases(root, patterns[first]).items() if path not in masks}
    if not found:
        raise _nothing_found(card, root, patterns[first])
    wanted, cases = set(names) or set(found), []
    for name in sorted(found):
        files = {first: found[name]} | {channel: place(root, patterns[channel], name) for channel in others}
        missing = [path for path in files.values() if not path.exists()]
        if missing and name in wanted:
            raise DataError(
                f"case {name} lacks a file",
                received=f"no {missing[0].relative_to(root)}",
                expected=", ".join(patterns.values()),
                remedy="Add it, correct data.files in the card, or select other cases with -p cases.",
            )
        if not missing:
            cases.append(CaseFiles(name, files, truths.get(name)))
    if card.data.truth and not any(case.truth for case in cases):
        raise DataError(
            f"no case in {root} has a true mask",
            expected=card.data.truth,
            remedy="Correct data.truth in the card, or set it to null.",
        )
    return cases


def find_cases(root: Path, pattern: str) -> dict[str, Path]:
    """Case id to file, for every file that fits a pattern.

    Raises:
        DataError: one is a broken link.
    """
    parts = pattern.split(CASE)
    fits = re.compile(re.escape(parts[0]) + "([^/]+)" + _rest(parts))
    found = {}
    for text in glob.glob("*".join(glob.escape(part) for part in parts), root_dir=root):
        name = fits.fullmatch(Path(text).as_posix())
        path = root / text
        if name and path.is_symlink():
            refuse_broken([path] if not path.exists() else [])
        if name and (path.is_file() or (path.is_dir() and dicom_folders_below(path))) and not name[1].startswith("."):
            found[name[1]] = path
    return found


def _rest(parts: list[str]) -> str:
    """The expression after the first {case}; a further one must be the same text."""
    return re.escape(parts[1]) + "".join(r"\1" + re.escape(part) for part in parts[2:])


def place(root: Path, pattern: str, name: str) -> Path:
    """The file of a case by a pattern."""
    return root / pattern.replace(CASE, name)


def _nothing_found(card: ModelCard, root: Path, pattern: str) -> DataError:
    there = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())[:3]
    return DataError(
        f"no file in {root} fits data.files of the card",
        received=f"files such as {', '.join(there)}" if there else "an empty folder",
        expected=pattern,
        remedy="Correct the pattern, or set data_root to the folder that it starts from.",
    )


def read_card_case(card: ModelCard, files: CaseFiles) -> Case:
    """Reads and checks one case; the truth holds class indices, and `IGNORED` where nothing counts.

    Raises:
        DataError: a file cannot be used, files differ in grid or size, or the truth has a value that no class has.
    """
    if card.is_volume:
        image, geometry = _read_volumes(files)
    else:
        image, geometry = _read_pictures(card, files), None
    truth = None
    if files.truth is not None:
        truth = read_true_mask(card, files.truth, geometry)
        if truth.shape != image.shape[1:]:
            raise DataError(
                f"image and mask of {files.id} differ in size",
                received=f"mask {truth.shape}",
                expected=image.shape[1:],
            )
    return Case(files.id, image, truth, geometry, {_CARD: card})


def _read_volumes(files: CaseFiles) -> tuple[np.ndarray, Geometry]:
    volumes = [read_image_volume(path, files, role) for role, path in files.files.items()]
    names = [path.name for path in files.files.values()]
    for volume, name in zip(volumes[1:], names[1:], strict=True):
        check_same_grid(volume.geometry, volumes[0].geometry, name, names[0])
    return np.concatenate([volume.array for volume in volumes]).astype(np.float32), volumes[0].geometry


def _read_pictures(card: ModelCard, files: CaseFiles) -> np.ndarray:
    several = len(files.files) > 1
    parts = [read_picture(path, "as_stored" if several else card.data.colour) for path in files.files.values()]
    for part, (channel, path) in zip(parts, files.files.items(), strict=True):
        if several and (len(part) != 1 or part.shape != parts[0].shape):
            raise DataError(
                f"{path.name} does not hold the one channel {channel}",
                received=f"{len(part)} channels of {part.shape[1:]} pixels",
                expected=f"1 channel of {parts[0].shape[1:]} pixels",
            )
    return np.concatenate(parts)


def read_picture(path: Path, colour: str) -> np.ndarray:
    """Channels (C, H, W) of a picture file, in the stored dtype; of a `.npy` file as stored.

    Raises:
        DataError: the file cannot be used, has more than 8 bits of grey where RGB is wanted, or a `.npy` file does
            not hold (C, H, W) numbers.
    """
    if path.suffix.lower() == ".npy":
        return _read_array(path)
    with open_picture(path) as picture:
        say_turned(path, picture)
        if colour in ("rgb", "bgr"):
            pixels = rgb_of(path, picture)  # the preparation reverses it for bgr, the pictures do not
        elif colour == "grey" and picture.mode != "L" and not is_deep(picture):
            pixels = np.array(picture.convert("L"))
        else:
            pixels = np.array(picture)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _read_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is not an array of NumPy", received=str(error)) from None
    if array.ndim != 3 or array.dtype.kind not in "uif" or 0 in array.shape:
        raise DataError(
            f"{path} is not a picture", received=f"{array.shape} {array.dtype}", expected="(C, H, W) numbers"
        )
    if array.dtype.kind == "f" and (bad := np.count_nonzero(~np.isfinite(array))):
        raise DataError(f"{path} has values that are NaN or infinite", received=f"{bad:,} values", expected="none")
    return array


def read_true_mask(card: ModelCard, path: Path, geometry: Geometry | None) -> np.ndarray:
    """Class indices of a true mask, `IGNORED` where nothing counts."""
    table = {value: index for index, values in enumerate(true_values(card).values()) for value in values}
    table |= dict.fromkeys(card.data.ignore, IGNORED)
    return _to_classes(_read_numbers(path, geometry), table, path, "data.truth_values or data.ignore")


def read_written_mask(path: Path, case: Case) -> np.ndarray:
    """Class indices of a mask that `write_card_mask` wrote, perhaps edited since.

    Raises:
        DataError: the mask is not on the case's grid, or has a value that no class has.
    """
    table = {value: index for index, value in enumerate(_card_of(case).classes.values())}
    classes = _to_classes(_read_numbers(path, case.geometry), table, path, "classes")
    if classes.shape != case.image.shape[1:]:
        raise DataError(f"{path.name} has another size", received=classes.shape, expected=case.image.shape[1:])
    return classes


def _card_of(case: Case) -> ModelCard:
    return cast(ModelCard, case.notes[_CARD])


def _read_numbers(path: Path, geometry: Geometry | None) -> np.ndarray:
    if geometry is not None:
        volume = read_mask_volume(path, geometry)
        check_same_grid(volume.geometry, geometry, path.name, "the image of its case")
        return volume.array[0]
    with open_picture(path) as picture:
        refuse_lossy(path, picture)
        if picture.mode not in ("P", "L", "1", "I", "I;16"):
            raise DataError(
                f"{path} is not a mask",
                received=f"image mode {picture.mode}",
                expected="a palette, grey levels or bits",
                remedy="Convert its colours to class numbers first.",
            )
        # A palette's indices are the values. Writers of GIF renumber them, so there the grey levels are.
        pixels = np.array(picture.convert("L") if picture.format == "GIF" else picture)
        return pixels.astype(np.int64)


def _to_classes(numbers: np.ndarray, table: dict[int, int], path: Path, entry: str) -> np.ndarray:
    values, places = np.unique(whole_labels(path, numbers), return_inverse=True)
    unknown = [int(value) for value in values if int(value) not in table]
    if unknown:
        raise DataError(
            f"{path} has values that no class has",
            received=f"{unknown[:8]}",
            expected=f"{sorted(table)}",
            remedy=f"Add them to {entry} in the card.",
        )
    lookup = np.array([table[int(value)] for value in values], np.uint8)
    return lookup[places].reshape(numbers.shape)


def write_card_mask(classes: np.ndarray, case: Case, path: Path) -> None:
    """Writes class indices as the values of the case's card, in the format of the suffix."""
    card = _card_of(case)
    values = np.array(list(card.classes.values()), np.uint8)[classes]
    if case.geometry is not None:
        write_volume(path, Volume(values[None], case.geometry))
    else:
        write_png(path, values, voc.palette() if card.masks.palette else None)
