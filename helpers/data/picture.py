"""The one writer of 2-D masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.run.atomic import replace_when_whole


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Writes (H, W) uint8 as a grey PNG, atomically."""
    from PIL import Image

    with replace_when_whole(path) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels, np.uint8)).save(temporary, format="PNG")
