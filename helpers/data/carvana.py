"""Lists, reads and prepares cases in the layout of Kaggle's Carvana data set, and writes their masks.

Data set: Carvana Image Masking Challenge (Kaggle, 2017). The preparation is that of the Ascend recipe for UNet
(ascend/ModelZoo-PyTorch, contrib/cv/segmentation/UNet, preprocess_unet_pth.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.data.files import find_pictures, one_file_each, other_files
from helpers.data.letterbox import resize_bilinear
from helpers.data.picture import open_picture, read_photograph, refuse_lossy, write_png
from helpers.errors import DataError

IMAGES, MASKS, MASK_SUFFIX = "train", "train_masks", "_mask.gif"
SIZE = 572
# Folders of photographs and masks: Kaggle's (two qualities), those of milesial/Pytorch-UNet, and a usual pair.
_LAYOUTS = (
    (IMAGES, MASKS),
    (f"{IMAGES}_hq", MASKS),
    ("data/imgs", "data/masks"),
    ("imgs", "masks"),
    ("images", "masks"),
)

MaskValue = int | tuple[int, ...]
"""A grey level or palette index, or a colour."""

_LOG = logging.getLogger("cookbook")


def find_carvana_cases(data_root: str | os.PathLike, split: str = IMAGES) -> list[CaseFiles]:
    """Lists the photographs of one split in whichever layout the folder has.

    Kaggle's `train` or `train_hq` with `train_masks`, or `test`; `data/imgs` and `data/masks`, or `imgs` and `masks`,
    of milesial/Pytorch-UNet; `images` and `masks`; or photographs directly in the folder. Either all photographs have
    a mask or none has.

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
    others = other_files(root / images)
    if masks is None and split == IMAGES:
        return [f"{root} has no folder {IMAGES}: the photographs in it are run, without a truth", *others]
    if masks is not None and not ((root / masks).is_dir() and find_pictures(root / masks)):
        return [f"{root} has no masks in {masks}", *others]
    return others if images == split else [f"photographs are read from {images}, masks from {masks}", *others]


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


def read_carvana_case(case: CaseFiles, values: Sequence[MaskValue] = ()) -> Case:
    """Reads the photograph of a case, and its mask if there is one.

    Args:
        case: the files.
        values: of the classes in the mask, see `read_class_mask`; empty: background and car.

    Returns:
        The image (3, H, W) uint8 RGB and the truth (H, W) uint8 classes, or None.

    Raises:
        DataError: a file cannot be used, or image and mask differ in size.
    """
    image = read_image(case.files["image"])
    truth = None if case.truth is None else read_class_mask(case.truth, values)
    if truth is not None and truth.shape != image.shape[1:]:
        raise DataError(
            f"image and mask of {case.id} differ in size (height, width)",
            received=f"mask {truth.shape}",
            expected=image.shape[1:],
        )
    return Case(case.id, image, truth, None, notes={"mask_values": tuple(values)} if values else {})


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads a photograph as (3, H, W) uint8 RGB, ignoring the orientation in its EXIF data.

    Raises:
        DataError: see `read_photograph`.
    """
    return np.ascontiguousarray(read_photograph(path).transpose(2, 0, 1))


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Reads a mask as (H, W) uint8, 0 or 1, from palette indices or grey levels 0/1 or 0/255, or from bits.

    If a palette is black and white, white is the car, whatever the order of the two.

    Raises:
        DataError: the file is missing, empty, truncated or not an image, is in colour, or has other values.
    """
    with open_picture(path) as image:
        pixels, mode = np.array(image), image.mode
        is_negative = mode == "P" and _has_white_background(pixels, image.getpalette() or [])
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
    return ((pixels != 0) ^ is_negative).astype(np.uint8)


def read_class_mask(path: str | os.PathLike, values: Sequence[MaskValue] = ()) -> np.ndarray:
    """Reads a mask as (H, W) uint8 classes.

    Args:
        path: of the mask.
        values: the grey level, palette index or RGB colour of class 0, 1, ..., as Pytorch-UNet keeps them in a
            checkpoint (`mask_values`), also RGBA; empty: background and car, as `read_mask` reads them.

    Raises:
        DataError: the file is missing, empty, truncated or not an image, or has other values.
    """
    if not values:
        return read_mask(path)
    channels = len(values[0]) if isinstance(values[0], tuple) else 0
    in_colour = channels > 0
    with open_picture(path) as image:
        refuse_lossy(path, image)
        pixels = np.array(image.convert("RGBA" if channels == 4 else "RGB") if in_colour else image)
    if pixels.ndim != (3 if in_colour else 2):
        raise DataError(f"{path} is in colour", expected=f"a mask of the values {_listed(values)}")
    classes = np.full(pixels.shape[:2], 255, np.uint8)
    for index, value in enumerate(values):
        classes[(pixels == value).all(axis=-1) if in_colour else pixels == value] = index
    if (classes == 255).any():
        unknown = np.unique(pixels[classes == 255], axis=0).tolist()
        raise DataError(
            f"{path} holds values that the model does not know",
            received=_listed(unknown),
            expected=_listed(values),
            remedy="Use a mask in the form that the network was trained with.",
        )
    return classes


def write_mask(path: str | os.PathLike, mask: np.ndarray, values: Sequence[MaskValue] = ()) -> Path:
    """Writes a mask (H, W) of classes as a PNG of their values; without values as grey 0 and 255, for any viewer."""
    if not values:
        return write_png(path, mask * np.uint8(255))
    return write_png(path, np.array(values, np.uint8)[mask])


def prepare_image(image: np.ndarray, size: tuple[int, int] = (SIZE, SIZE), channels: int = 3) -> np.ndarray:
    """Resizes an image (bicubic, without keeping the aspect ratio) and divides it by 255.

    Args:
        image: (3, H, W) uint8 RGB.
        size: height and width of the result in pixels.
        channels: of the network's input: 3, or 1 for grey photographs.

    Returns:
        (channels, *size) float32 in 0..1, C-contiguous; identical to the source's input, bit for bit.

    Raises:
        DataError: the array is not a (3, H, W) uint8 image, or it is in colour and the network takes grey ones.
    """
    from PIL import Image

    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != np.uint8:
        raise DataError(
            "the array is not an RGB image", received=f"{image.shape} {image.dtype}", expected="(3, H, W) uint8"
        )
    if channels == 1 and not (image == image[:1]).all():
        raise DataError(
            "the photograph is in colour, and the network takes grey ones",
            received="3 different channels",
            remedy="Convert the photographs to grey as you did for the training.",
        )
    scaled = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    scaled = scaled.resize(size[::-1], Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(scaled, dtype=np.float32).transpose(2, 0, 1)[:channels] / 255)


def check_aspect_ratio(name: str, image_size: tuple[int, int], size: tuple[int, int]) -> None:
    """Refuses a photograph that `size` would distort; Pytorch-UNet scales both sides alike and rounds them down.

    Args:
        name: of the photograph.
        image_size: its height and width in pixels.
        size: height and width that it would be scaled to.

    Raises:
        DataError: a side differs by more than a pixel from that of a photograph scaled without distortion.

    >>> check_aspect_ratio("a", (1280, 1918), (640, 959))
    """
    scale = max(size[0] / image_size[0], size[1] / image_size[1])
    kept = (int(image_size[0] * scale), int(image_size[1] * scale))
    if max(abs(kept[0] - size[0]), abs(kept[1] - size[1])) > 1:
        raise DataError(
            f"{name} would be distorted",
            received=f"{image_size[0]} × {image_size[1]} pixels for size [{size[0]}, {size[1]}]",
            expected=f"for example size [{kept[0]}, {kept[1]}]",
            remedy="Run photographs of one aspect ratio at a time, or pass one number, which distorts as the source.",
        )


def prepare_mask(mask: np.ndarray, size: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    """Resizes a mask (H, W) uint8 to (height, width) with nearest neighbour, as the source does for scoring."""
    from PIL import Image

    return np.array(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))


def restore_classes(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes logits to the photograph's grid (bilinear) and takes the largest, as Pytorch-UNet does.

    Args:
        logits: (classes, h, w) float32.
        height, width: size of the photograph in pixels.

    Returns:
        (height, width) uint8 classes.

    >>> restore_classes(np.array([[[1.0, 0.0]], [[0.0, 1.0]]], np.float32), 1, 4).tolist()
    [[0, 0, 1, 1]]
    """
    scaled = resize_bilinear(logits.transpose(1, 2, 0), height, width)
    return scaled.argmax(axis=-1).astype(np.uint8)


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


def _has_white_background(pixels: np.ndarray, palette: Sequence[int]) -> bool:
    """Whether colour 0 of a palette is white, and every other one that the mask uses is black.

    Writers order colours by frequency, and drop those that are not used: in an all-white mask white may be colour 0.
    """
    others = [palette[3 * index : 3 * index + 3] for index in np.unique(pixels).tolist() if index]
    return min(palette[:3], default=0) > 127 and all(max(colour, default=255) <= 127 for colour in others)


def _is_mask(name: str, pictures: Mapping[str, Path]) -> bool:
    return name.lower().endswith("_mask") and name[: -len("_mask")] in pictures


def _lower_mask_word(name: str) -> str:
    return f"{name[: -len('_mask')]}_mask" if name.lower().endswith("_mask") else name


def _find_masks(photographs: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """The mask of each photograph: `<id>_mask` (also `_MASK`) or `<id>`, with any suffix of a picture."""
    named = ((_lower_mask_word(name), path) for name, path in find_pictures(folder).items())
    masks = one_file_each(named, "mask")
    is_shared = folder == next(iter(photographs.values())).parent  # there a photograph is not its own mask
    names = {name: f"{name}_mask" if is_shared or f"{name}_mask" in masks else name for name in photographs}
    missing = [f"{name}{MASK_SUFFIX}" for name, mask in names.items() if mask not in masks]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"{len(missing)} of {len(photographs)} photographs have no mask in {folder}",
            received=f"no {', '.join(missing[:3])}{more}",
            remedy="Copy the masks, or remove the photographs.",
        )
    used = {*names, *names.values()} if is_shared else {*names.values()}
    orphans = sorted(path.name for mask, path in masks.items() if mask not in used)
    if orphans:
        _LOG.warning("%d masks in %s have no photograph; the first is %s", len(orphans), folder, orphans[0])
    return {name: masks[mask] for name, mask in names.items()}


def _listed(values: Sequence) -> str:
    return ", ".join(str(value) for value in values[:8]) + (", …" if len(values) > 8 else "")
