"""Opens picture files with one clear error for every kind of unusable file, and writes PNG files atomically."""

from __future__ import annotations

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


@contextmanager
def open_picture(path: str | os.PathLike) -> Iterator[Image.Image]:
    """Opens a picture and decodes its pixels, so that any damage is reported here.

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
        with Image.open(path) as image:
            image.load()
            yield image
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as an image",
            received=f"{size_bytes} bytes ({error})",
            remedy="Copy or download it again.",
        ) from None


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
