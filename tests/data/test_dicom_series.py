"""A DICOM folder is read with every slice in its place, or refused with the true reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from helpers.data.formats.dicom import is_dicom_folder, list_dicom_series
from helpers.data.volume import read_volume
from helpers.errors import DataError
from tests.data.dicom_files import write_series

OTHER_UID = "1.2.826.0.1.3680043.2.1125.77"
UNIFORM = [(-3.0, -4.0, 2.0 * index) for index in range(8)]


def refusal(folder: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        read_volume(folder, **options)
    line = caught.value.line()
    assert folder.name in line and "\n" not in line
    return line


def heights(*values: float) -> list[tuple[float, float, float]]:
    return [(-3.0, -4.0, value) for value in values]


def edit(path: Path, **values) -> None:
    header = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(header, name, value)
    header.save_as(path)


def test_an_oblique_series_with_shuffled_files_equals_itks(tmp_path):
    import SimpleITK as sitk

    row, column = np.array([0.8, 0.6, 0.0]), np.array([0.0, 0.0, -1.0])
    normal = np.cross(row, column)
    order = [3, 0, 5, 1, 4, 2]
    planes = [np.random.default_rng(index).integers(-900, 900, (1, 6, 8)).astype(np.int16) for index in order]
    folder = write_series(
        tmp_path / "series",
        positions=[tuple(np.array([10.0, -20, 30]) + 2.5 * index * normal) for index in order],
        orientation="\\".join(map(str, [*row, *column])),
        planes=planes,
    )
    volume = read_volume(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    assert np.array_equal(volume.array[0], sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.geometry.spacing_mm_zyx[::-1], image.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(volume.geometry.origin_mm_xyz, image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(volume.geometry.direction, image.GetDirection(), atol=1e-6)


def test_slopes_that_differ_from_slice_to_slice_are_applied_to_each(tmp_path):
    folder = write_series(tmp_path / "series", planes=[np.full((1, 6, 8), 10, np.int16)] * 6)
    for index, path in enumerate(sorted(folder.iterdir())):
        edit(path, RescaleSlope=str(0.5 + index), RescaleIntercept="0")
    np.testing.assert_allclose(read_volume(folder).array[0, :, 0, 0], [5, 15, 25, 35, 45, 55])


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        (heights(0, 2, 4, 6, 10, 12), "lacks slices: received adjacent slices 4 mm apart"),
        (heights(0, 2, 4, 10, 12, 14), "Missing: 2, as between 02.dcm and 03.dcm"),
        (heights(0, 2, 4, 6, 9, 11, 13), "uneven distances"),  # a gap of one and a half
        (heights(0, 2, 4, 6, 7, 9, 11), "uneven distances"),
        (heights(0, 2, 4, 6, 8, 13, 18, 23), "uneven distances"),  # thin slices, then thick ones
        (heights(0, 2.1, 4.2, 6.3, 8.5, 10.7, 12.9, 15.1, 17.3), "03.dcm is 0.188 mm from its place"),
        ([*UNIFORM[:4], (-1.0, -4.0, 8.0), *UNIFORM[5:]], "04.dcm is 2 mm from its place"),
        ([(-3.0, -4.0 + 0.5 * index, 2.0 * index) for index in range(8)], "sheared"),  # a tilted gantry
        ([*UNIFORM, (-3.0, -4.0, 300.0)], "lacks slices"),
    ],
)
def test_slices_that_are_no_grid_are_refused_with_the_reason(tmp_path, positions, said):
    assert said in refusal(write_series(tmp_path / "series", positions=positions))


def test_positions_that_were_rounded_are_a_grid(tmp_path):
    positions = heights(*(round(0.625 * index, 1) for index in range(40)))
    geometry = read_volume(write_series(tmp_path / "series", positions=positions)).geometry
    assert geometry.spacing_mm_zyx[0] == pytest.approx(0.625, abs=0.002)


def test_a_copy_of_a_slice_is_left_out_and_the_log_says_so(tmp_path, caplog):
    folder = write_series(tmp_path / "series")
    (folder / "zz.dcm").write_bytes((folder / "02.dcm").read_bytes())
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array[0, :, 0, 0], [0, 10, 20, 30, 40, 50])
    assert volume.geometry.spacing_mm_zyx[0] == 2.5
    assert "zz.dcm is a copy of 02.dcm and is left out" in caplog.text


def test_two_images_at_one_position_are_refused(tmp_path):
    folder = write_series(tmp_path / "series")
    write_series(folder, positions=[(-3, -4, 5.0)], first=20)
    line = refusal(folder)
    assert "two images at one position: 02.dcm and 20.dcm" in line and "equal headers, different pixels" in line


@pytest.mark.parametrize(
    ("tag", "values", "said"),
    [
        ("0018|0081", ("20", "90"), "EchoTime 20 and 90"),
        ("0018|0010", ("", "Gadovist"), "ContrastBolusAgent none and Gadovist"),
        ("0018|0060", ("80", "140"), "KVP 80 and 140"),
        ("0020|0012", ("1", "2"), "AcquisitionNumber 1 and 2"),
    ],
)
def test_two_contrasts_of_one_uid_are_named(tmp_path, tag, values, said):
    folder = write_series(tmp_path / "series", positions=UNIFORM, tags={tag: values[0]})
    write_series(folder, positions=UNIFORM, tags={tag: values[1]}, first=20)
    assert said in refusal(folder)


def test_two_contrasts_at_alternate_positions_are_refused(tmp_path):
    folder = write_series(tmp_path / "series", positions=UNIFORM[::2], tags={"0018|0081": "20"})
    write_series(folder, positions=UNIFORM[1::2], tags={"0018|0081": "90"}, first=20)
    assert "mixes images of different EchoTime" in refusal(folder)


def test_a_localizer_is_named(tmp_path):
    folder = write_series(tmp_path / "series")
    write_series(folder, positions=[(-20, -50, 40)], orientation="0\\1\\0\\0\\0\\-1", first=0)
    write_series(folder, positions=[(-3, -4, 0)], first=10)
    line = refusal(folder)
    assert "1 of 7 images in another orientation, such as a localizer: received 00.dcm" in line


def test_images_of_another_size_or_spacing_are_named(tmp_path):
    folder = write_series(tmp_path / "series")
    write_series(folder, positions=[(-3, -4, 15.0)], planes=[np.zeros((1, 12, 16), np.int16)], first=6)
    assert "different size in one series: received (12, 16) in 06.dcm" in refusal(folder)
    (folder / "06.dcm").unlink()
    edit(folder / "03.dcm", PixelSpacing=[0.8, 0.9])
    assert "different PixelSpacing in one series: received (0.8, 0.9) in 03.dcm" in refusal(folder)


def test_a_series_is_chosen_by_uid_or_description(tmp_path):
    folder = write_series(tmp_path / "series", tags={"0008|103e": "portal venous"})
    write_series(folder, 4, tags={"0008|103e": "arterial", "0020|000e": OTHER_UID}, first=50)
    line = refusal(folder)
    assert "2 series" in line and "portal venous, 6 images" in line and OTHER_UID in line
    assert read_volume(folder, series="portal venous").array.shape[1] == 6
    assert read_volume(folder, series="ARTERIAL").array.shape[1] == 4
    assert read_volume(folder, series=OTHER_UID).array.shape[1] == 4
    assert "no DICOM series 'delayed'" in refusal(folder, series="delayed")
    assert [item.description for item in list_dicom_series(folder)] == ["portal venous", "arterial"]


def test_two_series_of_one_description_need_the_uid(tmp_path):
    folder = write_series(tmp_path / "series", tags={"0008|103e": "portal venous"})
    write_series(folder, 4, tags={"0008|103e": "portal venous", "0020|000e": OTHER_UID}, first=50)
    assert "has 2 DICOM series 'portal venous'" in refusal(folder, series="portal venous")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ImagePositionPatient": None}, "ImagePositionPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "ImageOrientationPatient"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 1, 0]}, "ImageOrientationPatient"),
        ({"PixelSpacing": [0, 0.8]}, "PixelSpacing"),
        ({"PixelSpacing": None}, "PixelSpacing"),
        ({"Rows": 7}, "truncated or damaged: received 96 bytes of pixels, expected 112"),
        ({"PixelData": b"\0" * 40}, "truncated or damaged"),
        ({"NumberOfFrames": 2}, "several frames"),
        ({"SamplesPerPixel": 3}, "not a scalar volume"),
    ],
)
def test_a_slice_that_cannot_be_placed_or_decoded_is_named(tmp_path, values, said):
    folder = write_series(tmp_path / "series")
    edit(folder / "03.dcm", **values)
    line = refusal(folder)
    assert said in line and "03.dcm" in line


def test_a_last_slice_that_was_cut_anywhere_never_gives_a_shorter_series(tmp_path):
    folder = write_series(tmp_path / "series")
    content = (folder / "05.dcm").read_bytes()
    for length in range(1, len(content), 9):
        (folder / "05.dcm").write_bytes(content[:length])
        assert "05.dcm" in refusal(folder)


def test_rle_is_decoded_and_what_is_not_is_named(tmp_path):
    plain, folder = write_series(tmp_path / "plain"), write_series(tmp_path / "series")
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.compress(RLELossless)
        header.save_as(path)
    assert np.array_equal(read_volume(folder).array, read_volume(plain).array)
    header = pydicom.dcmread(folder / "03.dcm")
    header.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    header.save_as(folder / "03.dcm")
    line = refusal(folder)
    assert "03.dcm is compressed in a way that is not decoded" in line and "High-Throughput JPEG 2000" in line


def test_other_files_in_the_folder_do_not_matter_but_a_broken_slice_does(tmp_path):
    folder = write_series(tmp_path / "series")
    (folder / "DICOMDIR").write_bytes(bytes(200))
    (folder / "README.txt").write_text("notes", encoding="utf-8")
    (folder / ".hidden").write_bytes(b"x")
    assert read_volume(folder).array.shape[1] == 6 and is_dicom_folder(folder)
    (folder / "06.dcm").write_bytes(b"half a download")
    assert "06.dcm is not DICOM" in refusal(folder)
    (tmp_path / "empty").mkdir()
    assert "0 series" in refusal(tmp_path / "empty") and not is_dicom_folder(tmp_path / "empty")


def test_a_single_slice_has_its_thickness_or_is_refused(tmp_path):
    folder = write_series(tmp_path / "series", count=1)
    assert read_volume(folder).geometry.spacing_mm_zyx[0] == 2.5
    edit(folder / "00.dcm", SliceThickness=None, SpacingBetweenSlices=None)
    assert "SliceThickness" in refusal(folder).replace("00.dcm", "series")


def test_a_broken_link_to_a_slice_and_reversed_grey_values_are_refused(tmp_path):
    folder = write_series(tmp_path / "series")
    (folder / "99.dcm").symlink_to(tmp_path / "nowhere.dcm")
    with pytest.raises(DataError, match=r"99\.dcm is a broken link"):
        read_volume(folder)
    reverse = write_series(tmp_path / "reverse", count=2)
    header = pydicom.dcmread(reverse / "01.dcm")
    header.PhotometricInterpretation = "MONOCHROME1"
    header.save_as(reverse / "01.dcm")
    with pytest.raises(DataError, match=r"01\.dcm has its grey values in reverse"):
        read_volume(reverse)
