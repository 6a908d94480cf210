"""Reading and preparing cases of the Kaggle Carvana layout: car photographs and one mask for each.

Data set: Carvana Image Masking Challenge (Kaggle, 2017). Preparation as the Ascend recipe for UNet on it
(ascend/ModelZoo-PyTorch, contrib/cv/segmentation/UNet, preprocess_unet_pth.py).
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import DataError

IMAGES, MASKS, MASK_SUFFIX = "train", "train_masks", "_mask.gif"
SIZE = 572

_log = logging.getLogger("cookbook")


@dataclass(frozen=True)
class CarvanaCase:
    """The files of one case; `mask` is None where a folder without masks was asked for."""

    case_id: str
    image: Path
    mask: Path | None


def find_cases(
    data_root: str | os.PathLike,
    images: str = IMAGES,
    masks: str | None = MASKS,
) -> list[CarvanaCase]:
    """Finds the pairs `train/<id>.jpg` and `train_masks/<id>_mask.gif`, sorted by id.

    Args:
        data_root: the data set's folder.
        images: name of the folder with the photographs.
        masks: name of the folder with the masks, or None for photographs that have none (Kaggle's `test`).

    Raises:
        DataError: there is no such folder, it holds no photograph, or a photograph has no mask.
    """
    root = Path(data_root)
    for folder in filter(None, (images, masks)):
        if not (root / folder).is_dir():
            raise DataError(
                f"{root} holds no folder {folder}",
                expected=f"{images}/<id>.jpg" + (f" and {masks}/<id>{MASK_SUFFIX}" if masks else ""),
                remedy="Point data_root at the folder that holds them.",
            )
    photographs = [path for path in (root / images).glob("*.jpg") if not path.name.startswith(".")]
    if not photographs:
        raise DataError(f"{root / images} holds no photograph", expected="<id>.jpg")
    cases = [
        CarvanaCase(path.stem, path, root / masks / f"{path.stem}{MASK_SUFFIX}" if masks else None)
        for path in sorted(photographs, key=lambda path: path.stem)
    ]
    if masks:
        _check_masks(cases, root / masks)
    return cases


def read_case(case: CarvanaCase) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads both files of a case.

    Returns:
        The image (3, H, W) uint8 and the mask (H, W) uint8, 0 or 1, or None without a mask.

    Raises:
        DataError: a file cannot be used, or the two differ in size.
    """
    image = read_image(case.image)
    if case.mask is None:
        return image, None
    mask = read_mask(case.mask)
    if mask.shape != image.shape[1:]:
        raise DataError(
            f"image and mask of {case.case_id} differ in size (height, width)",
            received=f"mask {mask.shape}",
            expected=image.shape[1:],
        )
    return image, mask


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads a photograph as (3, H, W) uint8 RGB, whatever its EXIF says about turning it.

    Raises:
        DataError: the file is missing, empty, truncated or no image.
    """
    pixels, _ = _read_pixels(Path(path), as_rgb=True)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Reads a mask as (H, W) uint8, 0 or 1, from palette numbers or grey levels 0/1 or 0/255, or from bits.

    Raises:
        DataError: the file is missing, empty, truncated or no image, has colours, or holds other values.
    """
    path = Path(path)
    pixels, mode = _read_pixels(path)
    if mode not in ("P", "L", "1"):
        raise DataError(
            f"{path} is no mask",
            received=f"image mode {mode}",
            expected="palette (P), 8-bit grey (L) or bits (1)",
            remedy="Convert its colours to 0 and 255 first.",
        )
    values = set(np.unique(pixels).tolist())
    if not (values <= {0, 1} or values <= {0, 255}):
        raise DataError(
            f"{path} holds more than background and car",
            received=f"values {sorted(values)[:8]}",
            expected="0 and 1, or 0 and 255",
            remedy="A mask that was resized or stored as JPEG has lost its two values: take the original.",
        )
    return (pixels != 0).astype(np.uint8)


def prepare_image(image: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Prepares an image for the network: bicubic, to a square without keeping the aspect, divided by 255.

    Args:
        image: (3, H, W) uint8 RGB.
        size: side of the square in pixels.

    Returns:
        (3, size, size) float32 in 0..1, C-contiguous: bit for bit what the source feeds.

    Raises:
        DataError: the array is no (3, H, W) uint8 image.
    """
    from PIL import Image

    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != np.uint8:
        raise DataError(
            "this array is no RGB image", received=f"{image.shape} {image.dtype}", expected="(3, H, W) uint8"
        )
    square = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    square = square.resize((size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square, dtype=np.float32).transpose(2, 0, 1) / 255)


def prepare_mask(mask: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Scales a mask (H, W) uint8 to (size, size) by the nearest pixel, which is how the source scores."""
    from PIL import Image

    return np.array(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))


def restore_mask(probability: np.ndarray, height: int, width: int) -> np.ndarray:
    """Brings a prediction back to its photograph's grid: bilinear on the probabilities, then above one half.

    Args:
        probability: (S, S) float32, the foreground's probability.
        height: of the photograph, in pixels.
        width: of the photograph, in pixels.

    Returns:
        (height, width) uint8, 0 or 1.
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(probability, dtype=np.float32))
    return (np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)) > 0.5).astype(np.uint8)


def _check_masks(cases: list[CarvanaCase], folder: Path) -> None:
    missing = [case.mask.name for case in cases if not case.mask.is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"{len(missing)} of {len(cases)} photographs have no mask in {folder}",
            received=f"no {', '.join(missing[:3])}{more}",
            remedy="Copy the masks, or take the photographs out.",
        )
    orphans = {path.name for path in folder.glob(f"*{MASK_SUFFIX}")} - {case.mask.name for case in cases}
    if orphans:
        _log.warning("%d masks in %s have no photograph, the first is %s", len(orphans), folder, min(orphans))


def _read_pixels(path: Path, as_rgb: bool = False) -> tuple[np.ndarray, str]:
    from PIL import Image

    if not path.is_file():
        raise DataError(f"{path} does not exist", remedy="Check data_root and the case ids.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty", received="0 bytes", expected="an image", remedy="Copy it again.")
    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB") if as_rgb else image)
            if image.mode == "P" and not as_rgb and not pixels.any() and min(image.getpalette()[:3]) > 127:
                pixels += 1  # writers of GIF drop unused colours: here the only one left is white
            return pixels, image.mode
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as an image",
            received=f"{path.stat().st_size} bytes ({error})",
            remedy="Copy or download it again.",
        ) from None
