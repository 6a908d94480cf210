"""Every file of the reference data that is unusual or damaged has an expected outcome."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from helpers.data.volume import read_volume
from helpers.errors import DataError

# File -> its size (Z, Y, X), or what the refusal says.
OUTCOMES: dict[str, tuple[int, int, int] | str] = {
    "dicom_ct-3slice": (3, 512, 512),
    "formats/aparc.a2009s+aseg.mgz": "no volume format has the suffix of aparc",
    "formats/lesion.nii.gz": (140, 160, 124),
    "formats/lfs_pointer_liver_0.nii.gz": "is a Git LFS pointer",
    "formats/low_res.nii.gz": (3, 5, 7),
    "formats/mha.mha": (37, 64, 64),
    "formats/minimal.nii.gz": (10, 64, 64),
    "label_variants/GLI-00001_seg-BraTS23_1.nii.gz": (155, 240, 240),
    "label_variants/GLI-00001_seg-BraTS23_1_mapped.nii.gz": (155, 240, 240),
    "label_variants/TCGA-DU-7294_lfb_rwth.nii.gz": (155, 240, 240),
    "label_variants/TCGA-DU-7294_mic-dkfz.nii.gz": (155, 240, 240),
    "label_variants/TCGA-DU-7294_scan.nii.gz": (155, 240, 240),
    "label_variants/TCGA-DU-7294_zyx_2019.nii.gz": (155, 240, 240),
    "native_not_coregistered/TCGA-FG-6692_fla.nii.gz": (26, 256, 208),
    "native_not_coregistered/TCGA-FG-6692_t1.nii.gz": (26, 224, 256),
    "native_not_coregistered/TCGA-FG-6692_t1c.nii.gz": (26, 224, 256),
    "native_not_coregistered/TCGA-FG-6692_t2.nii.gz": (26, 256, 224),
    "oblique/CT_pitch.nii.gz": (58, 248, 175),
    "oblique/FLAIR.nii.gz": (140, 160, 124),
    "oblique/FLAIR.nrrd": (140, 160, 124),
    "oblique/rgb_test_file.nii.gz": "is not a scalar volume: received RGB",
    "oblique/sub-unf01_T1w.nii.gz": (16, 141, 131),
    "oblique/sub-unf01_T1w_seg-manual.nii.gz": (16, 141, 131),
    "oblique/sub-unf01_T2w.nii.gz": (16, 141, 131),
    "oblique/sub-unf03_T1w.nii.gz": (32, 26, 19),
    "oblique/sub-unf03_T2star.nii.gz": (2, 45, 45),
}


@pytest.fixture(scope="module")
def robustness() -> Path:
    """The reference data's folder of unusual files."""
    if not os.environ.get("COOKBOOK_DATA"):
        pytest.skip("COOKBOOK_DATA does not name the reference data")
    return Path(os.environ["COOKBOOK_DATA"]) / "robustness"


def test_the_table_has_every_file(robustness):
    names = {path.relative_to(robustness).as_posix() for path in robustness.rglob("*") if path.is_file()}
    assert {name if not name.startswith("dicom") else "dicom_ct-3slice" for name in names} == set(OUTCOMES)


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_file_has_its_outcome(robustness, name):
    expected = OUTCOMES[name]
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected) as caught:
            read_volume(robustness / name)
        assert "\n" not in caught.value.line()
        return
    volume = read_volume(robustness / name)
    assert volume.array.shape == (1, *expected)
    if name.endswith(".nii.gz"):
        values = np.asarray(nibabel.load(robustness / name).dataobj).squeeze().T
        np.testing.assert_allclose(volume.array[0], values, rtol=1e-6)


@pytest.mark.parametrize("name", ["formats/minimal.nii.gz", "oblique/sub-unf03_T2star.nii.gz", "formats/mha.mha"])
def test_a_file_that_was_cut_is_refused(robustness, tmp_path, name):
    content = (robustness / name).read_bytes()
    for size in (0, 1, 100, len(content) // 2, len(content) - 1):
        cut = tmp_path / Path(name).name
        cut.write_bytes(content[:size])
        with pytest.raises(DataError, match=cut.name):
            read_volume(cut)
