"""Published scanner files: a DICOM folder, oblique grids, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from helpers.data.volume import read_volume
from helpers.errors import DataError


@pytest.fixture
def robustness(reference_data) -> Path:
    return reference_data / "robustness"


def test_a_dicom_folder_is_read_in_slice_order(robustness):
    import SimpleITK as sitk

    volume = read_volume(robustness / "dicom_ct-3slice")
    assert volume.array.shape == (1, 3, 512, 512)
    slices = [sitk.ReadImage(str(path)) for path in sorted((robustness / "dicom_ct-3slice").glob("*.dcm"))]
    slices.sort(key=lambda image: image.GetOrigin()[2])
    for plane, image in zip(volume.array[0], slices, strict=True):
        assert np.array_equal(plane, sitk.GetArrayFromImage(image)[0])
    assert volume.geometry.origin_mm_xyz == pytest.approx(slices[0].GetOrigin())
    assert volume.geometry.spacing_mm_zyx[0] == pytest.approx(slices[1].GetOrigin()[2] - slices[0].GetOrigin()[2])


def test_oblique_files_agree_with_nibabel(robustness):
    paths = [p for p in sorted((robustness / "oblique").glob("*.nii.gz")) if "rgb" not in p.name]
    assert len(paths) >= 5
    lps_to_ras = np.diag([-1.0, -1.0, 1.0])
    for path in paths:
        volume, image = read_volume(path), nibabel.load(path)
        np.testing.assert_allclose(volume.array[0], np.asarray(image.dataobj).transpose(2, 1, 0), rtol=1e-6)
        direction = np.array(volume.geometry.direction).reshape(3, 3)
        axes = lps_to_ras @ direction @ np.diag(volume.geometry.spacing_mm_zyx[::-1])
        np.testing.assert_allclose(image.affine[:3, :3], axes, atol=1e-3, err_msg=path.name)


@pytest.mark.parametrize(
    ("name", "said"), [("oblique/rgb_test_file.nii.gz", "scalar"), ("formats/lfs_pointer_liver_0.nii.gz", "LFS")]
)
def test_real_files_that_cannot_be_used_are_refused(robustness, name, said):
    with pytest.raises(DataError, match=said):
        read_volume(robustness / name)
