"""Reading cases of the VOCdevkit layout: JPEG images, palette PNG labels and the splits of image ids.

Data set: Everingham et al., the PASCAL Visual Object Classes Challenge 2012 (VOC2012), segmentation task.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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

_CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class VocCase:
    """One image and its label.

    `image` is (H, W, 3) uint8 RGB; `label` is (H, W) uint8 with classes 0 to 20 and 255 = ignore, or None for
    a case that was read without its label.
    """

    case_id: str
    image: np.ndarray
    label: np.ndarray | None


def palette() -> np.ndarray:
    """Colours of VOC's label files: (256, 3) uint8; each three bits of the class go to R, G and B in turn."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> channel) & 1) << (7 - bit)).astype(np.uint8)
        index = index >> 3
    return colours


def find_voc_folder(data_root: str | os.PathLike) -> Path:
    """Finds the folder that holds `JPEGImages`, at the root itself or as `VOCdevkit/VOC2012` below it.

    Raises:
        DataError: neither place holds it.
    """
    root = Path(data_root)
    for folder in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (folder / IMAGES).is_dir():
            return folder
    raise DataError(
        f"{root} holds no VOC data set",
        expected=f"VOCdevkit/VOC2012/{IMAGES} in it",
        remedy="Point data_root at the folder that holds VOCdevkit.",
    )


def list_cases(data_root: str | os.PathLike, split: str = "val") -> tuple[str, ...]:
    """Ids of one split in the file's order, or with `split="labelled"` all that have a label, sorted.

    Raises:
        DataError: there is no such split, it is empty, or a line of it is no image id.
    """
    folder = find_voc_folder(data_root)
    if split == "labelled":
        ids = tuple(sorted(path.stem for path in (folder / LABELS).glob("*.png")))
    else:
        path = folder / SPLITS / f"{_checked_id(split)}.txt"
        if not path.is_file():
            known = sorted(p.stem for p in (folder / SPLITS).glob("*.txt"))
            raise DataError(
                f"{path} does not exist",
                received=f"split {split!r}",
                expected=f"one of {', '.join([*known, 'labelled'])}",
            )
        lines = path.read_text(encoding="utf-8").splitlines()
        ids = tuple(_checked_id(line.strip()) for line in lines if line.strip())
    if not ids:
        raise DataError(f"split {split!r} of {folder} names no case", remedy="Check the data set's copy.")
    return ids


def read_case(data_root: str | os.PathLike, case_id: str, with_label: bool = True) -> VocCase:
    """Reads the image and the label of one case.

    Raises:
        DataError: a file is missing or unreadable, the label holds colours or unknown classes instead of
            class numbers, or its size differs from the image's.
    """
    folder = find_voc_folder(data_root)
    _checked_id(case_id)
    image = read_image(folder / IMAGES / f"{case_id}.jpg")
    if not with_label:
        return VocCase(case_id, image, None)
    label = read_label(folder / LABELS / f"{case_id}.png")
    if label.shape != image.shape[:2]:
        raise DataError(
            f"image and label of {case_id} differ in size (height, width)",
            received=f"label {label.shape}",
            expected=image.shape[:2],
        )
    return VocCase(case_id, image, label)


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads a photograph as (H, W, 3) uint8 RGB.

    Raises:
        DataError: the file is missing, damaged or no image.
    """
    image, _ = _open(Path(path), "RGB")
    return image


def read_label(path: str | os.PathLike) -> np.ndarray:
    """Reads a label PNG as (H, W) uint8: classes 0 to 20, 255 = ignore.

    Raises:
        DataError: the file is missing, damaged, not of palette or grey type, or holds other values.
    """
    path = Path(path)
    label, mode = _open(path, None)
    if mode not in ("P", "L"):
        raise DataError(
            f"{path} does not hold class numbers",
            received=f"image mode {mode}",
            expected="a palette (P) or 8-bit grey (L) PNG",
            remedy="Convert its colours to class numbers first.",
        )
    strange = [int(v) for v in np.unique(label) if v >= len(CLASSES) and v != IGNORE_INDEX]
    if strange:
        raise DataError(f"{path} holds classes that VOC does not have", received=strange, expected="0 to 20 and 255")
    return label


def write_label(path: str | os.PathLike, label: np.ndarray) -> Path:
    """Writes (H, W) uint8 class numbers as a palette PNG in VOC's colours, atomically."""
    from PIL import Image

    path = Path(path)
    image = Image.fromarray(np.ascontiguousarray(label, np.uint8))
    image.putpalette(palette().tobytes())  # makes a grey image one of palette type
    part = path.with_name(f".part-{path.name}")
    image.save(part, format="PNG")
    os.replace(part, path)
    return path


def _open(path: Path, mode: str | None) -> tuple[np.ndarray, str]:
    from PIL import Image

    if not path.is_file():
        raise DataError(f"{path} does not exist", remedy="Check data_root and the split's image ids.")
    try:
        with Image.open(path) as image:
            stored = image.mode
            return np.array(image if mode is None else image.convert(mode)), stored
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as an image",
            received=f"{path.stat().st_size} bytes ({error})",
            remedy="Copy or download it again.",
        ) from None


def _checked_id(name: str) -> str:
    # Ids become file names: a path in one could lead out of the data set.
    if not _CASE_ID.fullmatch(name) or ".." in name:
        raise DataError("this is no VOC id", received=repr(name), expected="a name such as 2007_000033")
    return name
