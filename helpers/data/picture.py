"""Opens picture files with one clear error for every kind of unusable file, and writes PNG files atomically."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.errors import DataError
from helpers.run.atomic import atomic_path

if TYPE_CHECKING:
    from PIL import Image

_DEEP_MODES = ("I", "F")  # also I;16 and its byte orders: Pillow cuts these at 255 when it makes RGB of them
_ORIENTATION, _UPRIGHT = 0x0112, 1  # of EXIF

_LOG = logging.getLogger("cookbook")


@contextmanager
def open_picture(path: str | os.PathLike) -> Iterator[Image.Image]:
    """Opens a picture and decodes its pixels, so that any damage is reported here; of several pictures, the first.

    Raises:
        DataError: the file is missing, empty, truncated or not an image.
    """
    from PIL import Image

    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist", remedy="Check data_root and the case ids.")
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise DataError(f"{path} is empty", received="0 bytes", expected="an image", remedy="Copy it again.")
    try:
        with _decoded(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as an image",
            received=f"{size_bytes} bytes ({error})",
            remedy="Copy or download it again.",
        ) from None


def read_photograph(path: str | os.PathLike) -> np.ndarray:
    """Reads a photograph as (H, W, 3) uint8 RGB as it is stored; the log says if its EXIF data turn it.

    Raises:
        DataError: the file is missing, damaged or not an image, or has grey values of more than 8 bits.
    """
    with open_picture(path) as image:
        say_turned(path, image)
        return rgb_of(path, image)


def rgb_of(path: str | os.PathLike, image: Image.Image) -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB of an opened picture.

    Raises:
        DataError: it has grey values of more than 8 bits.
    """
    if is_deep(image):
        raise DataError(
            f"{path} has grey values of more than 8 bits",
            received=f"image mode {image.mode}",
            expected="8 bits per channel",
            remedy="Scale them to 0 to 255 as for the training.",
        )
    return np.array(image.convert("RGB"))


def refuse_lossy(path: str | os.PathLike, image: Image.Image) -> None:
    """Refuses a mask that was stored as JPEG, which puts other class numbers around every edge.

    Raises:
        DataError: it is JPEG.
    """
    if image.format in ("JPEG", "MPO"):
        raise DataError(
            f"{path} is a mask stored as JPEG, which changes values at edges",
            received=image.format,
            expected="PNG or another format without loss",
            remedy="Use the original mask.",
        )


def is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey with more than 8 bits."""
    return image.mode.startswith(_DEEP_MODES)


def say_turned(path: str | os.PathLike, image: Image.Image) -> None:
    """Warns if the EXIF data of a picture turn it when it is shown: its pixels are read as they are stored."""
    orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
    if orientation != _UPRIGHT:
        _LOG.warning("%s: its EXIF data turn or flip it (orientation %s); it is read as stored", path, orientation)


def write_png(path: str | os.PathLike, pixels: np.ndarray, palette: np.ndarray | None = None) -> Path:
    """Writes (H, W) uint8 as a PNG: grey, or as indices of a palette (N, 3) uint8 RGB."""
    from PIL import Image

    path = Path(path)
    image = Image.fromarray(np.ascontiguousarray(pixels, np.uint8))
    if palette is not None:
        image.putpalette(palette.tobytes())  # makes a grey image one of palette type
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")
    return path


def _decoded(path: Path) -> Image.Image:
    from PIL import Image

    try:
        image = Image.open(path)
        if image.format != "MPO" and _has_several(image):  # cameras add previews as MPO
            _LOG.warning("%s holds several pictures; the first is read", path)
        image.load()
    except Exception as error:  # which error a damaged file raises depends on the damaged bytes
        raise OSError(str(error)) from None
    return image


def _has_several(image: Image.Image) -> bool:
    try:
        image.seek(1)
    except (EOFError, OSError, SyntaxError, ValueError):
        return False
    image.seek(0)
    return True
