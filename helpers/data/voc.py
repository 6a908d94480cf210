"""Lists and reads cases in the layout of VOCdevkit (JPEG images, palette PNG labels, splits), and writes labels.

Data set: Everingham et al., the PASCAL Visual Object Classes Challenge 2012 (VOC2012), segmentation task.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.data.files import find_pictures, other_files, some_of
from helpers.data.picture import open_picture, read_photograph, refuse_lossy, write_png
from helpers.errors import DataError

CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
IGNORE_INDEX = 255
IMAGES, LABELS, SPLITS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"

_CASE_ID = re.compile(r"[^\s./\\][^\s/\\]*")


def palette() -> np.ndarray:
    """The colours of VOC's label files, (256, 3) uint8: the bits of the class number alternate between R, G and B.

    >>> palette()[[0, 1, 15, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]]
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> channel) & 1) << (7 - bit)).astype(np.uint8)
        index = index >> 3
    return colours


def find_voc_folder(data_root: str | os.PathLike) -> Path:
    """Finds the folder that contains `JPEGImages`: the root itself, or `VOC2012` or `VOCdevkit/VOC2012` below it.

    Raises:
        DataError: none of them contains it.
    """
    for folder in _possible_folders(data_root):
        if (folder / IMAGES).is_dir():
            return folder
    raise DataError(
        f"{data_root} does not contain a VOC data set",
        expected=f"VOCdevkit/VOC2012/{IMAGES} or photographs in it",
        remedy="Set data_root to the folder that contains VOCdevkit.",
    )


def list_voc_cases(data_root: str | os.PathLike, split: str = "val") -> list[CaseFiles]:
    """Lists one split in the order of its file, or with `split="labelled"` every case with a label, sorted by id.

    Of photographs without splits, in `JPEGImages` or directly in the folder, all are listed. If no case of the split
    has a label, none has a truth.

    Raises:
        DataError: the split does not exist or is empty, or one of its lines is not an image id.
    """
    if not _has_voc_folder(data_root) and (photographs := find_pictures(Path(data_root))):
        return [CaseFiles(name, {"image": path}) for name, path in photographs.items()]
    folder = find_voc_folder(data_root)
    photographs, labels = find_pictures(folder / IMAGES), _labels_of(folder)
    if split == "labelled":
        ids = sorted(labels)
    else:
        ids = _read_split(folder, split) if (folder / SPLITS).is_dir() else list(photographs)
    if not ids:
        raise DataError(f"split {split!r} of {folder} is empty", remedy="Check the copy of the data set.")
    is_labelled = any(name in labels for name in ids)
    return [
        CaseFiles(
            name,
            {"image": photographs.get(name, folder / IMAGES / f"{name}.jpg")},
            labels.get(name, folder / LABELS / f"{name}.png") if is_labelled else None,
        )
        for name in ids
    ]


def say_layout(data_root: str | os.PathLike) -> list[str]:
    """What is missing of VOC's layout, and is done instead."""
    root = Path(data_root)
    if not _has_voc_folder(root):
        return [f"{root} has no {IMAGES}: its photographs are run, without a truth", *other_files(root)]
    folder = find_voc_folder(root)
    said = [] if (folder / SPLITS).is_dir() else [f"{folder} has no {SPLITS}: all photographs are run"]
    said += other_files(folder / IMAGES)
    return said if _labels_of(folder) else [*said, f"{folder} has no labels in {LABELS}"]


def read_voc_case(case: CaseFiles, names: Sequence[str] = CLASSES) -> Case:
    """Reads the image of a case, and its label if there is one.

    Args:
        case: the files.
        names: of the classes. If they are VOC's, a label whose palette has VOC's colours in another order is refused.

    Returns:
        The image (3, H, W) uint8 RGB and the truth (H, W) uint8 with classes 0 to 20 and 255 = ignore, or None.

    Raises:
        DataError: a file is missing or unreadable, the label does not have class numbers of VOC, or image and label
            differ in size.
    """
    image = read_image(case.files["image"])
    label = None if case.truth is None else read_label(case.truth, names)
    if label is not None and label.shape != image.shape[:2]:
        raise DataError(
            f"image and label of {case.id} differ in size (height, width)",
            received=f"label {label.shape}",
            expected=image.shape[:2],
        )
    return Case(case.id, np.ascontiguousarray(image.transpose(2, 0, 1)), label, None)


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads a photograph as (H, W, 3) uint8 RGB.

    Raises:
        DataError: see `read_photograph`.
    """
    return read_photograph(path)


def read_label(path: str | os.PathLike, names: Sequence[str] = CLASSES) -> np.ndarray:
    """Reads a label PNG as (H, W) uint8: class numbers, 255 = ignore.

    Args:
        path: of the label.
        names: see `read_voc_case`.

    Raises:
        DataError: the file is missing, damaged or JPEG, is not a palette or grey image, or was written again with its
            colours in another order.
    """
    with open_picture(path) as image:
        refuse_lossy(path, image)
        label, mode, colours = np.array(image), image.mode, image.getpalette() or []
    if mode not in ("P", "L"):
        raise DataError(
            f"{path} does not contain class numbers",
            received=f"image mode {mode}",
            expected="a palette (P) or 8-bit grey (L) PNG",
            remedy="Convert its colours to class numbers first.",
        )
    if mode == "P" and tuple(names) == CLASSES:
        _refuse_reordered(Path(path), label, colours)
    return label


def write_label(path: str | os.PathLike, label: np.ndarray) -> Path:
    """Writes (H, W) uint8 class numbers as a palette PNG in VOC's colours, atomically."""
    return write_png(path, label, palette())


def _refuse_reordered(path: Path, label: np.ndarray, colours: Sequence[int]) -> None:
    """Refuses class numbers that a program replaced by the order of the colours, as GIF writers and quantisers do."""
    number_of = {tuple(colour): index for index, colour in enumerate(palette().tolist())}
    used = {index: tuple(colours[3 * index : 3 * index + 3]) for index in np.unique(label).tolist()}
    moved = [index for index, colour in used.items() if number_of.get(colour) != index]
    if moved and all(colour in number_of for colour in used.values()):
        raise DataError(
            f"{path} has the colours of VOC in another order",
            received=f"colour {moved[0]} is that of class {number_of[used[moved[0]]]}",
            expected="class numbers as palette indices",
            remedy="Use the original label, or convert its colours to class numbers.",
        )


def _possible_folders(data_root: str | os.PathLike) -> tuple[Path, ...]:
    root = Path(data_root)
    return root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"


def _has_voc_folder(data_root: str | os.PathLike) -> bool:
    return any((folder / IMAGES).is_dir() for folder in _possible_folders(data_root))


def _labels_of(folder: Path) -> dict[str, Path]:
    return find_pictures(folder / LABELS) if (folder / LABELS).is_dir() else {}


def _read_split(folder: Path, split: str) -> list[str]:
    path = folder / SPLITS / f"{_checked_id(split)}.txt"
    if not path.is_file():
        known = sorted(p.stem for p in (folder / SPLITS).glob("*.txt"))
        raise DataError(
            f"{path} does not exist",
            received=f"split {split!r}",
            expected=f"one of {', '.join([*known, 'labelled'])}",
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read", received=str(error), expected="ids in UTF-8") from None
    ids = [_checked_id(line.strip()) for line in lines if line.strip()]
    twice = sorted(name for name, count in Counter(ids).items() if count > 1)
    if twice:
        raise DataError(f"{path} lists ids twice", received=some_of(twice), remedy="Remove one of each.")
    return ids


def _checked_id(name: str) -> str:
    # Ids become file names, so a path in an id could lead out of the data set.
    if not _CASE_ID.fullmatch(name) or ".." in name:
        raise DataError("this is not a VOC id", received=repr(name), expected="a name such as 2007_000033")
    return name
