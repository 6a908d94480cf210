"""Files that look intact but would be read wrongly are refused: a DICOM series with a gap, NIfTI-2."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.data.volume import read_volume
from helpers.errors import DataError


def write_series(folder, count=6, step_mm=2.5):
    """Writes a DICOM series with one file per slice."""
    import SimpleITK as sitk

    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index in range(count):
        image = sitk.GetImageFromArray(np.full((1, 6, 8), 10 * index, np.int16))
        image.SetSpacing((0.8, 0.8, step_mm))
        tags = {
            "0008|0060": "CT",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.9.{index + 1}",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
            "0020|0032": f"-3\\-4\\{index * step_mm}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(index + 1),
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{index:02}.dcm"))
        writer.Execute(image)
    return folder


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


@pytest.mark.parametrize("name", ["case.nii", "case.nii.gz"])
def test_nifti_2_is_refused_by_name(tmp_path, name):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti2Image(np.ones((2, 3, 4), np.int16), np.eye(4)), tmp_path / name)
    with pytest.raises(DataError, match="NIfTI-2"):
        read_volume(tmp_path / name)
