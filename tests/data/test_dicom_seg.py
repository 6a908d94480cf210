"""A DICOM SEG lies where its mask lies in the patient and refers to the slices it was drawn on, or is refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from helpers.data.formats import dicom_seg
from helpers.data.formats.dicom import find_slices
from helpers.data.formats.dicom_seg import Code, Maker, Segment, check_source, read_seg, write_seg
from helpers.data.geometry import Geometry
from helpers.data.volume import read_volume
from helpers.errors import DataError
from tests.data.dicom_files import write_on_grid, write_series
from tests.data.small_volumes import rotation

SIZE = (7, 12, 10)
AXES = np.eye(3)
ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
SEGMENTS = [
    Segment(1, "liver", ANATOMY, Code("10200004", "SCT", "Liver")),
    Segment(2, "Läsion 病灶", ANATOMY, Code("52988006", "SCT", "Lesion"), Code("10200004", "SCT", "Liver")),
]
MAKER = Maker("unetpp3d_liver", "3D UNet++, automatic segmentation", "0123abcd")
ORIENTATIONS = {
    "axial": AXES,
    "oblique": rotation(12, -23, 41),
    "coronal": np.column_stack([AXES[0], -AXES[2], AXES[1]]),
    "sagittal": np.column_stack([AXES[1], -AXES[2], -AXES[0]]),
    "feet first": np.column_stack([-AXES[0], AXES[1], -AXES[2]]),
    "mirrored rows": np.column_stack([-AXES[0], AXES[1], AXES[2]]),  # the files run against their normal
    "mirrored columns": np.column_stack([AXES[0], -AXES[1], AXES[2]]),
}


def grid_along(axes: np.ndarray, size=SIZE) -> Geometry:
    return Geometry(size, (2.5, 0.7, 0.9), (-12.5, 34.25, -7.0), tuple(axes.ravel()))


def series_along(folder: Path, axes: np.ndarray, **values) -> Path:
    grid = grid_along(axes)
    return write_on_grid(folder, np.random.default_rng(0).integers(-900, 900, SIZE).astype(np.int16), grid, **values)


def some_mask(size=SIZE) -> np.ndarray:
    mask = np.random.default_rng(1).integers(0, 3, size).astype(np.uint8)
    mask[0] = mask[-1] = 0
    return mask


def places_of_mask(mask: np.ndarray, grid: Geometry, number: int) -> np.ndarray:
    """The sorted places (N, 3) in the patient of the voxels of a segment, to a hundredth of a millimetre."""
    index = np.argwhere(mask == number)[:, ::-1]
    affine = grid.affine_lps()
    return np.unique(np.round(index @ affine[:3, :3].T + affine[:3, 3], 2) + 0.0, axis=0)


def places_of_seg(path: Path, number: int) -> np.ndarray:
    """The same, of a file, by another reader: highdicom's volumes."""
    import highdicom as hd

    volume = hd.seg.segread(path).get_volume(
        segment_numbers=[number], combine_segments=True, allow_missing_positions=True
    )
    index = np.argwhere(volume.array > 0)
    return np.unique(np.round(index @ volume.affine[:3, :3].T + volume.affine[:3, 3], 2) + 0.0, axis=0)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_mask_returns_from_a_seg_with_every_voxel_in_its_place(tmp_path, name):
    folder = series_along(
        tmp_path / "s", ORIENTATIONS[name], names=[f"{index}.dcm" for index in (3, 0, 6, 1, 5, 2, 4)]
    )
    slices, grid = find_slices(folder)
    mask = some_mask()
    write_seg(tmp_path / "m.dcm", mask, grid, slices, SEGMENTS, MAKER)
    uids = {item.uid: index for index, item in enumerate(slices)}
    np.testing.assert_array_equal(read_seg(tmp_path / "m.dcm", grid, uids), mask)
    for number in (1, 2):
        np.testing.assert_allclose(
            places_of_seg(tmp_path / "m.dcm", number), places_of_mask(mask, grid, number), atol=0.011
        )
    header = pydicom.dcmread(tmp_path / "m.dcm")
    referred = header.ReferencedSeriesSequence[0]
    assert referred.SeriesInstanceUID == pydicom.dcmread(slices[0].path).SeriesInstanceUID
    assert {each.ReferencedSOPInstanceUID for each in referred.ReferencedInstanceSequence} == set(uids)
    assert [each.SegmentLabel for each in header.SegmentSequence] == ["liver", "Läsion 病灶"]
    kinds = [each.SegmentedPropertyTypeCodeSequence[0] for each in header.SegmentSequence]
    assert [(kind.CodeValue, kind.CodingSchemeDesignator) for kind in kinds] == [
        ("10200004", "SCT"),
        ("52988006", "SCT"),
    ]
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("turned", [(slice(None), slice(None), slice(None, None, -1)), (slice(None, None, -1),)])
def test_a_seg_that_was_mirrored_is_refused_and_not_written(tmp_path, monkeypatch, turned):
    slices, grid = find_slices(series_along(tmp_path / "s", AXES))
    build = dicom_seg._segmentation
    monkeypatch.setattr(
        dicom_seg, "_segmentation", lambda headers, classes, *rest: build(headers, classes[turned], *rest)
    )
    with pytest.raises(DataError, match=r"m\.dcm does not agree with its mask: received [\d,]+ voxels differ"):
        write_seg(tmp_path / "m.dcm", some_mask(), grid, slices, SEGMENTS, MAKER)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ImagePositionPatient", [0.35, 0, 0], "between the voxels"),
        ("ImagePositionPatient", [0, 0, 2.5], "another slice|outside"),
        ("ImagePositionPatient", [900, 0, 0], "outside of the volume"),
    ],
)
def test_frames_that_were_moved_are_refused(tmp_path, name, value, said):
    slices, grid = find_slices(series_along(tmp_path / "s", AXES))
    write_seg(tmp_path / "m.dcm", some_mask(), grid, slices, SEGMENTS, MAKER)
    header = pydicom.dcmread(tmp_path / "m.dcm")
    for frame in header.PerFrameFunctionalGroupsSequence:
        plane = frame.PlanePositionSequence[0]
        plane[name].value = list(np.add(plane[name].value, value))
    header.save_as(tmp_path / "moved.dcm")
    with pytest.raises(DataError, match=said):
        read_seg(tmp_path / "moved.dcm", grid, {item.uid: index for index, item in enumerate(slices)})


def test_an_empty_mask_is_written_and_read(tmp_path):
    slices, grid = find_slices(series_along(tmp_path / "s", AXES))
    write_seg(tmp_path / "m.dcm", np.zeros(SIZE, np.uint8), grid, slices, SEGMENTS, MAKER)
    assert not read_seg(tmp_path / "m.dcm", grid, {item.uid: index for index, item in enumerate(slices)}).any()


def test_the_mask_of_a_tilted_gantry_returns_to_its_own_slices(tmp_path):
    axes = np.eye(3)
    axes[:, 2] = 0, np.sin(0.3), np.cos(0.3)
    size = (6, 30, 24)
    tilted = Geometry(size, (3.0, 0.8, 0.9), (-12.0, 34.0, 7.0), tuple(axes.ravel()))
    folder = write_on_grid(tmp_path / "s", np.zeros(size, np.int16), tilted)
    slices, grid = find_slices(folder)
    straight = read_volume(folder, shear="linear").geometry
    mask = np.zeros(straight.size_zyx, np.uint8)
    mask[2:4, 10:20, 5:15] = 1
    write_seg(tmp_path / "m.dcm", mask, straight, slices, SEGMENTS[:1], MAKER)
    found = read_seg(tmp_path / "m.dcm", grid, {item.uid: index for index, item in enumerate(slices)})
    assert 0.8 * mask.sum() < found.sum() < 1.2 * mask.sum()
    middle, expected = places_of_mask(found, grid, 1).mean(axis=0), places_of_mask(mask, straight, 1).mean(axis=0)
    np.testing.assert_allclose(middle, expected, atol=1.0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"FrameOfReferenceUID": ""}, "cannot be referred to by a DICOM SEG: received no FrameOfReferenceUID"),
        ({"SOPInstanceUID": "1.2.3"}, "several slices of one SOPInstanceUID"),
        ({"PatientSex": "unknown"}, "cannot be referred to by a DICOM SEG: received .*unknown"),
    ],
)
def test_a_series_that_cannot_be_referred_to_is_refused_at_once(tmp_path, values, said):
    folder = series_along(tmp_path / "s", AXES, **values)
    with pytest.raises(DataError, match=said):
        check_source(folder, find_slices(folder)[0], SEGMENTS, MAKER)


def test_a_header_with_nothing_that_may_be_missing_is_enough(tmp_path):
    folder = write_series(tmp_path / "s", tags={"0020|0052": "1.2.3.4"})
    slices, grid = find_slices(folder)
    check_source(folder, slices, SEGMENTS, MAKER)
    write_seg(tmp_path / "m.dcm", np.ones(grid.size_zyx, np.uint8), grid, slices, SEGMENTS, MAKER)


def test_a_series_without_uids_is_referred_to_by_its_files_and_the_log_says_so(tmp_path, caplog):
    folder = series_along(tmp_path / "s", AXES)
    names = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        for name in names:
            setattr(header, name, "")
        header.save_as(path, enforce_file_format=False)
    slices, grid = find_slices(folder)
    check_source(folder, slices, SEGMENTS, MAKER)
    write_seg(tmp_path / "m.dcm", some_mask(), grid, slices, SEGMENTS, MAKER)
    assert caplog.text.count("its StudyInstanceUID and SeriesInstanceUID are blank") == 1
    found = read_seg(tmp_path / "m.dcm", grid, {item.uid: index for index, item in enumerate(slices)})
    np.testing.assert_array_equal(found, some_mask())
    assert all(item.uid == pydicom.dcmread(item.path).file_meta.MediaStorageSOPInstanceUID for item in slices)


@pytest.mark.parametrize(("charset", "patient"), [("ISO_IR 100", "Müller^Jörg"), ("GB18030", "王^小明")])
def test_the_patient_s_name_survives_its_encoding(tmp_path, charset, patient):
    folder = series_along(tmp_path / "s", AXES, SpecificCharacterSet=charset, PatientName=patient)
    slices, grid = find_slices(folder)
    assert pydicom.dcmread(slices[0].path).PatientName == patient
    write_seg(tmp_path / "m.dcm", some_mask(), grid, slices, SEGMENTS, MAKER)
    header = pydicom.dcmread(tmp_path / "m.dcm")
    assert header.PatientName == patient and header.PatientID == "17"
    assert header.StudyInstanceUID == pydicom.dcmread(slices[0].path).StudyInstanceUID


@pytest.mark.parametrize("name", ["Task03_Liver/{}/liver_0", "Task02_Heart/{}/la_001", "Task09_Spleen/{}/spleen_2"])
def test_labels_of_the_decathlon_return_from_series_and_seg_to_their_own_voxels(tmp_path, reference_data, name):
    image, label = (reference_data / "msd-like" / f"{name.format(part)}.nii.gz" for part in ("imagesTr", "labelsTr"))
    volume, given = read_volume(image), nibabel.load(label)
    folder = write_on_grid(tmp_path / "s", np.rint(volume.array[0]).astype(np.int16), volume.geometry)
    slices, grid = find_slices(folder)
    truth = np.asarray(given.dataobj).astype(np.uint8)
    to_grid = np.linalg.inv(grid.affine_lps()) @ np.diag([-1.0, -1, 1, 1]) @ given.affine
    index = np.rint(to_grid @ np.vstack([np.argwhere(truth).T, np.ones(np.count_nonzero(truth))])).astype(int)
    mask = np.zeros(grid.size_zyx, np.uint8)
    mask[tuple(index[2::-1])] = truth[truth > 0]
    write_seg(tmp_path / "m.dcm", mask, grid, slices, SEGMENTS, MAKER)
    for number in set(np.unique(truth).tolist()) - {0}:
        found = places_of_seg(tmp_path / "m.dcm", number)
        there = (np.linalg.inv(given.affine) @ np.vstack([(found * [-1, -1, 1]).T, np.ones(len(found))]))[:3]
        back = np.zeros(truth.shape, bool)
        back[tuple(np.rint(there).astype(int))] = True
        assert np.abs(there - np.rint(there)).max() < 0.05
        assert np.count_nonzero(back != (truth == number)) == 0


def test_a_series_of_a_scanner_is_referred_to(tmp_path, reference_data):
    folder = reference_data / "robustness" / "dicom_ct-3slice"
    slices, grid = find_slices(folder)
    check_source(folder, slices, SEGMENTS, MAKER)
    mask = some_mask(grid.size_zyx)
    mask[0] = 1
    write_seg(tmp_path / "m.dcm", mask, grid, slices, SEGMENTS, MAKER)
    np.testing.assert_allclose(places_of_seg(tmp_path / "m.dcm", 2), places_of_mask(mask, grid, 2), atol=0.011)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of Debian's dicom3tools")
@pytest.mark.parametrize("mask", [some_mask(), np.zeros(SIZE, np.uint8)], ids=["mask", "empty"])
def test_a_validator_finds_no_fault(tmp_path, mask):
    slices, grid = find_slices(series_along(tmp_path / "s", rotation(12, -23, 41)))
    write_seg(tmp_path / "m.dcm", mask, grid, slices, SEGMENTS, MAKER)
    done = subprocess.run(
        ["dciodvfy", "-new", tmp_path / "m.dcm"], capture_output=True, encoding="utf-8", errors="replace", timeout=60
    )
    assert done.stderr.split() == ["Segmentation"] and done.returncode == 0, done.stderr
