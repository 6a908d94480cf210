"""A DICOM series that looks intact but would be read wrongly is refused."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.data.volume import read_volume
from helpers.errors import DataError
from tests.data.dicom_files import write_series


def test_a_complete_series_is_read_and_one_with_a_gap_is_refused(tmp_path):
    folder = write_series(tmp_path / "series")
    volume = read_volume(folder)
    assert volume.geometry.spacing_mm_zyx == pytest.approx((2.5, 0.8, 0.8))
    np.testing.assert_array_equal(volume.array[0, :, 0, 0], [0, 10, 20, 30, 40, 50])
    (folder / "03.dcm").unlink()
    with pytest.raises(DataError, match=r"lacks slices: received adjacent slices 5 mm apart, expected 2\.5 mm"):
        read_volume(folder)


def test_a_series_without_its_last_slice_is_a_shorter_series(tmp_path):
    folder = write_series(tmp_path / "series")
    (folder / "05.dcm").unlink()
    assert read_volume(folder).array.shape == (1, 5, 6, 8)
