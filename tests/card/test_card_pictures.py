"""The pictures of a card's cases: what is read as it is stored, what is said, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from helpers.card.case_files import find_cases, read_picture
from helpers.errors import DataError

GREY = np.random.default_rng(1).integers(256, 4096, (5, 6)).astype(np.uint16)


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16_bits_of_grey_are_kept_or_refused_and_never_cut(tmp_path, dtype):
    path = tmp_path / "a.tif"
    mode = {"<u2": "I;16", ">u2": "I;16B"}[dtype]
    Image.frombytes(mode, GREY.shape[::-1], GREY.astype(dtype).tobytes()).save(path)
    np.testing.assert_array_equal(read_picture(path, "grey")[0], GREY)
    np.testing.assert_array_equal(read_picture(path, "as_stored")[0], GREY)
    with pytest.raises(DataError, match="more than 8 bits"):
        read_picture(path, "rgb")


def test_a_broken_link_is_refused_and_not_left_out(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"b\.png is a broken link"):
        find_cases(tmp_path, "{case}.png")
