"""Lists, reads and prepares cases in the layout of Kaggle's Carvana data set, and writes their masks.

Data set: Carvana Image Masking Challenge (Kaggle, 2017). The preparation is that of the Ascend recipe for UNet
(ascend/ModelZoo-PyTorch, contrib/cv/segmentation/UNet, preprocess_unet_pth.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.data.files import find_pictures
from helpers.data.picture import open_picture, write_png
from helpers.errors import DataError

IMAGES, MASKS, MASK_SUFFIX = "train", "train_masks", "_mask.gif"
SIZE = 572
# Folders of photographs and masks: Kaggle's, and those of milesial/Pytorch-UNet.
_LAYOUTS = ((IMAGES, MASKS), ("data/imgs", "data/masks"), ("imgs", "masks"))

_LOG = logging.getLogger("cookbook")


def find_carvana_cases(data_root: str | os.PathLike, split: str = IMAGES) -> list[CaseFiles]:
    """Lists the photographs of one split in whichever layout the folder has.

    Kaggle's `train` and `train_masks`, or `test`; `data/imgs` and `data/masks`, or `imgs` and `masks`, of
    milesial/Pytorch-UNet; or photographs directly in the folder. Either all photographs have a mask or none has.

    Raises:
        DataError: there are no photographs, or some have a mask and some have none.
    """
    root = Path(data_root)
    images, masks = _layout(root, split)
    has_masks = masks is not None and (root / masks).is_dir() and bool(find_pictures(root / masks))
    return list_carvana_cases(root, images, masks if has_masks else None)


def say_layout(data_root: str | os.PathLike, split: str = IMAGES) -> list[str]:
    """What is missing of Kaggle's layout, and is done instead."""
    root = Path(data_root)
    images, masks = _layout(root, split)
    if masks is None and split == IMAGES:
        return [f"{root} has no folder {IMAGES}: the photographs in it are run, without a truth"]
    if masks is not None and not ((root / masks).is_dir() and find_pictures(root / masks)):
        return [f"{root} has no masks in {masks}"]
    return [] if images == split else [f"photographs are read from {images}, masks from {masks}"]


def list_carvana_cases(
    data_root: str | os.PathLike,
    images: str = IMAGES,
    masks: str | None = MASKS,
) -> list[CaseFiles]:
    """Lists the pairs of a photograph `<id>.jpg` and a mask `<id>_mask.gif` (or `<id>.png`), sorted by id.

    Args:
        data_root: the data set's folder.
        images: name of the folder with the photographs; "." for the data set's folder itself.
        masks: name of the folder with the masks, or None for photographs without masks (Kaggle's `test`).

    Raises:
        DataError: a folder is missing, there are no photographs, or a photograph has no mask.
    """
    root = Path(data_root)
    for folder in filter(None, (images, masks)):
        if not (root / folder).is_dir():
            raise DataError(
                f"{root} has no folder {folder}",
                expected=f"{images}/<id>.jpg" + (f" and {masks}/<id>{MASK_SUFFIX}" if masks else ""),
                remedy="Set data_root to the folder that contains them.",
            )
    pictures = find_pictures(root / images)
    photographs = {name: path for name, path in pictures.items() if not _is_mask(name, pictures)}
    if not photographs:
        raise DataError(f"{root / images} has no photographs", expected="<id>.jpg")
    truths = _find_masks(photographs, root / masks) if masks else {}
    return [CaseFiles(name, {"image": path}, truths.get(name)) for name, path in photographs.items()]


def read_carvana_case(case: CaseFiles) -> Case:
    """Reads the photograph of a case, and its mask if there is one.

    Returns:
        The image (3, H, W) uint8 RGB and the truth (H, W) uint8, 0 or 1, or None.

    Raises:
        DataError: a file cannot be used, or image and mask differ in size.
    """
    image = read_image(case.files["image"])
    truth = None if case.truth is None else read_mask(case.truth)
    if truth is not None and truth.shape != image.shape[1:]:
        raise DataError(
            f"image and mask of {case.id} differ in size (height, width)",
            received=f"mask {truth.shape}",
            expected=image.shape[1:],
        )
    return Case(case.id, image, truth, None)


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads a photograph as (3, H, W) uint8 RGB, ignoring the orientation in its EXIF data.

    Raises:
        DataError: the file is missing, empty, truncated or not an image.
    """
    with open_picture(path) as image:
        pixels = np.array(image.convert("RGB"))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Reads a mask as (H, W) uint8, 0 or 1, from palette indices or grey levels 0/1 or 0/255, or from bits.

    Raises:
        DataError: the file is missing, empty, truncated or not an image, is in colour, or has other values.
    """
    with open_picture(path) as image:
        pixels, mode = np.array(image), image.mode
        if mode == "P" and not pixels.any() and min((image.getpalette() or [0])[:3]) > 127:
            pixels += 1  # GIF writers drop unused colours, so in an all-white mask white is colour 0
    if mode not in ("P", "L", "1"):
        raise DataError(
            f"{path} is not a mask",
            received=f"image mode {mode}",
            expected="palette (P), 8-bit grey (L) or bits (1)",
            remedy="Convert its colours to 0 and 255 first.",
        )
    values = set(np.unique(pixels).tolist())
    if not (values <= {0, 1} or values <= {0, 255}):
        raise DataError(
            f"{path} has values other than background and car",
            received=f"values {sorted(values)[:8]}",
            expected="0 and 1, or 0 and 255",
            remedy="Use the original mask; resizing and JPEG compression add intermediate values.",
        )
    return (pixels != 0).astype(np.uint8)


def write_mask(path: str | os.PathLike, mask: np.ndarray) -> Path:
    """Writes a mask (H, W) of 0 and 1 as a grey PNG of 0 and 255, which any viewer shows."""
    return write_png(path, mask * np.uint8(255))


def prepare_image(image: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Resizes an image to a square (bicubic, without keeping the aspect ratio) and divides it by 255.

    Args:
        image: (3, H, W) uint8 RGB.
        size: side of the square in pixels.

    Returns:
        (3, size, size) float32 in 0..1, C-contiguous; identical to the source's input, bit for bit.

    Raises:
        DataError: the array is not a (3, H, W) uint8 image.
    """
    from PIL import Image

    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != np.uint8:
        raise DataError(
            "the array is not an RGB image", received=f"{image.shape} {image.dtype}", expected="(3, H, W) uint8"
        )
    square = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    square = square.resize((size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square, dtype=np.float32).transpose(2, 0, 1) / 255)


def prepare_mask(mask: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Resizes a mask (H, W) uint8 to (size, size) with nearest neighbour, as the source does for scoring."""
    from PIL import Image

    return np.array(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))


def restore_mask(probability: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes the probabilities to the photograph's grid (bilinear) and applies a threshold of 0.5.

    Args:
        probability: (S, S) float32, probability of the foreground.
        height, width: size of the photograph in pixels.

    Returns:
        (height, width) uint8, 0 or 1.
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(probability, dtype=np.float32))
    return (np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)) > 0.5).astype(np.uint8)


def _layout(root: Path, split: str) -> tuple[str, str | None]:
    """The folders of photographs and masks, relative to the root; masks are None if the layout has none."""
    if split != IMAGES:
        return split, None
    for images, masks in _LAYOUTS:
        if (root / images).is_dir():
            return images, masks
    pictures = find_pictures(root) if root.is_dir() else {}
    if not pictures:
        return _LAYOUTS[0]
    return ".", "." if any(_is_mask(name, pictures) for name in pictures) else None


def _is_mask(name: str, pictures: Mapping[str, Path]) -> bool:
    return name.endswith("_mask") and name.removesuffix("_mask") in pictures


def _find_masks(photographs: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """The mask of each photograph: `<id>_mask` or `<id>`, with any suffix of a picture."""
    masks = find_pictures(folder)
    names = {name: f"{name}_mask" if f"{name}_mask" in masks else name for name in photographs}
    missing = [f"{name}{MASK_SUFFIX}" for name, mask in names.items() if mask not in masks]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"{len(missing)} of {len(photographs)} photographs have no mask in {folder}",
            received=f"no {', '.join(missing[:3])}{more}",
            remedy="Copy the masks, or remove the photographs.",
        )
    used = {*names, *names.values()} if folder == next(iter(photographs.values())).parent else {*names.values()}
    orphans = sorted(path.name for mask, path in masks.items() if mask not in used)
    if orphans:
        _LOG.warning("%d masks in %s have no photograph; the first is %s", len(orphans), folder, orphans[0])
    return {name: masks[mask] for name, mask in names.items()}
