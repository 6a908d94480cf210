"""Cases are found in the layouts of the Decathlon and nnU-Net, and inconsistent ones are refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from helpers.data.geometry import Geometry
from helpers.data.nnunet.cases import list_cases, raw_folder, read_case, skipped_files, training_ids
from helpers.data.volume import Volume, write_volume
from helpers.errors import DataError

GRID = Geometry((4, 5, 6), (2.0, 0.8, 0.8), (1.0, 2.0, 3.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))


def put(path, values=None, geometry=GRID, dtype=np.int16):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.ones(geometry.size_zyx) if values is None else values
    write_volume(path, Volume(values.astype(dtype)[None], geometry))


def decathlon(root, ids=("liver_2", "liver_10"), suffix=""):
    for case in ids:
        put(root / "imagesTr" / f"{case}{suffix}.nii.gz")
        put(root / "labelsTr" / f"{case}.nii.gz", dtype=np.uint8)
    return root


@pytest.mark.parametrize("suffix", ["", "_0000"])
def test_names_with_and_without_a_channel_are_found(tmp_path, suffix):
    decathlon(tmp_path / "Task03_Liver", suffix=suffix)
    for root in (tmp_path, tmp_path / "Task03_Liver"):
        cases = list_cases(root, task="Task03_Liver")
        assert [case.id for case in cases] == ["liver_10", "liver_2"]
        assert list(cases[0].files) == ["0000"]
        assert cases[0].truth.name == "liver_10.nii.gz"


def test_requested_cases_are_selected_and_missing_ones_named(tmp_path):
    decathlon(tmp_path)
    assert [case.id for case in list_cases(tmp_path, ["liver_2"])] == ["liver_2"]
    with pytest.raises(DataError, match=r"does not contain liver_3.*liver_10, liver_2"):
        list_cases(tmp_path, ["liver_3"])


def test_a_folder_of_images_has_no_truth_except_from_ref_folder(tmp_path):
    put(tmp_path / "in" / "liver_3_0000.nii.gz")
    put(tmp_path / "gt" / "liver_3.nii.gz", dtype=np.uint8)
    assert list_cases(tmp_path / "in")[0].truth is None
    assert list_cases(tmp_path / "in", ref_folder=tmp_path / "gt")[0].truth == tmp_path / "gt" / "liver_3.nii.gz"


def test_channels_are_stacked_in_their_order(tmp_path):
    for channel in (1, 0):
        put(tmp_path / "imagesTr" / f"bp_1_000{channel}.nii.gz", np.full(GRID.size_zyx, channel + 5))
    case = read_case(list_cases(tmp_path)[0])
    assert case.image.shape == (2, 4, 5, 6)
    assert [channel.max() for channel in case.image] == [5, 6]
    assert not case.geometry.differences_from(GRID)
    put(tmp_path / "imagesTr" / "bp_2_0000.nii.gz")
    with pytest.raises(DataError, match="bp_2 lacks channels"):
        list_cases(tmp_path)
    assert [case.id for case in list_cases(tmp_path, ["bp_1"])] == ["bp_1"]


def test_labels_on_another_grid_or_without_class_indices_are_refused(tmp_path):
    decathlon(tmp_path, ["la_1"])
    label = tmp_path / "labelsTr" / "la_1.nii.gz"
    put(label, np.full(GRID.size_zyx, 2.0), dtype=np.float32)
    truth = read_case(list_cases(tmp_path)[0]).truth
    assert (truth.dtype, truth.max()) == (np.uint8, 2)
    for wrong in (0.5, -1.0, 300.0):
        put(label, np.full(GRID.size_zyx, wrong), dtype=np.float32)
        with pytest.raises(DataError, match="not class indices"):
            read_case(list_cases(tmp_path)[0])
    put(label, geometry=Geometry.identity((4, 5, 6)), dtype=np.uint8)
    with pytest.raises(DataError, match="another grid"):
        read_case(list_cases(tmp_path)[0])


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="no cases below"):
        list_cases(tmp_path)


def test_raw_data_is_found_by_nnunet_variables(tmp_path):
    v2, v1 = tmp_path / "raw" / "Dataset003_Liver", tmp_path / "base" / "nnUNet_raw_data" / "Task003_Liver"
    v2.mkdir(parents=True)
    v1.mkdir(parents=True)
    (tmp_path / "raw" / "Dataset030_Other").mkdir()
    for name in ("Dataset003_Liver", "Task003_Liver", "3"):
        assert raw_folder(name, {"nnUNet_raw": str(tmp_path / "raw")}) == v2
    assert raw_folder("Task03_Liver", {"nnUNet_raw_data_base": str(tmp_path / "base")}) == v1
    assert raw_folder("3", {}) is None
    with pytest.raises(DataError, match="no folder for data set 4"):
        raw_folder("4", {"nnUNet_raw": str(tmp_path / "raw")})


@pytest.mark.skipif(not os.environ.get("COOKBOOK_DATA"), reason="COOKBOOK_DATA is not set")
@pytest.mark.parametrize(("task", "classes"), [("Task02_Heart", 1), ("Task03_Liver", 2)])
def test_real_volumes_are_read_on_one_grid(task, classes):
    root = Path(os.environ["COOKBOOK_DATA"]) / "msd-like"
    cases = list_cases(root, task=task)
    assert len(cases) >= 3
    case = read_case(cases[-1])
    assert case.image.shape[1:] == case.truth.shape
    assert 1 <= case.truth.max() <= classes


def test_four_digits_at_the_end_of_an_id_are_not_a_channel(tmp_path):
    from helpers.data.geometry import Geometry
    from helpers.data.volume import Volume, write_volume

    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        for name in ("la_9001", "la_9002"):
            array = np.zeros((1, 3, 4, 5), np.uint8)
            write_volume(tmp_path / folder / f"{name}.nii.gz", Volume(array, Geometry.identity((3, 4, 5))))
    found = list_cases(tmp_path)
    assert [case.id for case in found] == ["la_9001", "la_9002"]
    assert all(case.truth is not None and set(case.files) == {"0000"} for case in found)


def test_links_and_suffixes_of_every_case_are_followed(tmp_path):
    put(tmp_path / "store" / "la_1.nii.gz")
    put(tmp_path / "store" / "deep" / "la_3.nii.gz")
    put(tmp_path / "Task02_Heart" / "imagesTr" / "la_2.nii.gz")
    images = tmp_path / "Task02_Heart" / "imagesTr"
    (images / "la_1.NII.GZ").symlink_to(tmp_path / "store" / "la_1.nii.gz")
    (images / "more").symlink_to(tmp_path / "store" / "deep")
    put(tmp_path / "Task02_Heart" / "labelsTr" / "la_2.seg.nrrd", dtype=np.uint8)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "Task02_Heart").symlink_to(tmp_path / "Task02_Heart")
    cases = list_cases(tmp_path / "data", task="Task02_Heart")
    assert [case.id for case in cases] == ["la_1", "la_2", "la_3"]
    assert [case.truth and case.truth.name for case in cases] == [None, "la_2.seg.nrrd", None]
    assert skipped_files(tmp_path / "data", task="Task02_Heart") == []


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_broken_links_and_two_files_of_one_name_are_refused(tmp_path, folder):
    decathlon(tmp_path, ["la_1"])
    put(tmp_path / folder / "la_1.nrrd", dtype=np.uint8)
    with pytest.raises(DataError, match=r"two files for the .*la_1\.nii\.gz and .*la_1\.nrrd"):
        list_cases(tmp_path)
    (tmp_path / folder / "la_1.nrrd").unlink()
    (tmp_path / folder / "la_2.nii.gz").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=r"la_2\.nii\.gz is a broken link to"):
        list_cases(tmp_path)


def test_a_segmentation_next_to_its_image_is_no_image_and_labels_of_no_image_are_said(tmp_path):
    put(tmp_path / "la_1.nrrd")
    put(tmp_path / "la_1.seg.nrrd", dtype=np.uint8)
    assert [case.id for case in list_cases(tmp_path)] == ["la_1"]
    assert skipped_files(tmp_path) == ["segmentations next to the images, unless in ref_folder: la_1.seg.nrrd"]
    task = decathlon(tmp_path / "task", ["la_1"])
    put(task / "labelsTr" / "la_7.nii.gz", dtype=np.uint8)
    assert skipped_files(task) == [f"labels in {task / 'labelsTr'} without an image: la_7.nii.gz"]


def touch(root, images, labels=(), dataset=None):
    """Files with these names, which are listed but not read."""
    for folder, names in (("imagesTr", images), ("labelsTr", labels)):
        for name in names:
            (root / folder).mkdir(exist_ok=True)
            (root / folder / f"{name}.nii.gz").touch()
    if dataset is not None:
        (root / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    return root


def test_ids_that_end_in_four_digits_have_their_own_channels(tmp_path):
    touch(tmp_path, ["la_0001_0000", "la_0001_0001", "la_2019_0000", "la_2019_0001"], ["la_0001", "la_2019"])
    found = list_cases(tmp_path, n_channels=2)
    assert [(case.id, list(case.files), case.truth.name) for case in found] == [
        ("la_0001", ["0000", "0001"], "la_0001.nii.gz"),
        ("la_2019", ["0000", "0001"], "la_2019.nii.gz"),
    ]


@pytest.mark.parametrize(
    ("labels", "n_channels", "ids"),
    [
        (["la_0000", "la_0001"], None, ["la_0000", "la_0001"]),  # the labels tell
        (["la"], None, ["la"]),
        ([], 1, ["la_0000", "la_0001"]),  # the model takes one channel, so these are two cases
        ([], 2, ["la"]),
    ],
)
def test_labels_or_the_model_tell_a_channel_from_an_id(tmp_path, labels, n_channels, ids):
    touch(tmp_path, ["la_0000", "la_0001"], labels)
    assert [case.id for case in list_cases(tmp_path, n_channels=n_channels)] == ids


def test_channels_that_the_model_does_not_take_are_refused(tmp_path):
    touch(tmp_path, ["la_0000", "la_0001", "la_0002"], ["la"])
    with pytest.raises(DataError, match="la has more channels than the model takes"):
        list_cases(tmp_path, n_channels=2)
    with pytest.raises(DataError, match="la lacks channels"):
        list_cases(tmp_path, n_channels=4)


@pytest.mark.parametrize("suffix", ["", "_0000"])
def test_the_training_set_is_listed_with_or_without_channels(tmp_path, suffix):
    names = ["case_3", "case_10", "case_2019"]
    entries = [{"image": f"./imagesTr/{name}{suffix}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]
    touch(tmp_path, [f"{name}_0000" for name in [*names, "case_4"]], [*names, "case_4"], {"training": entries})
    assert training_ids(tmp_path) == sorted(names)
    (tmp_path / "dataset.json").write_text(
        json.dumps({"training": [entry["image"] for entry in entries]}), encoding="utf-8"
    )
    assert training_ids(tmp_path) == sorted(names)


def test_a_data_set_may_name_its_files_one_by_one(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("SCANS", str(elsewhere))
    named = {
        "b": {"images": ["$SCANS/b_t1.nii.gz", "$SCANS/b_t2.nii.gz"], "label": "labels/b.nii.gz"},
        "a": {"images": [str(elsewhere / "a1.nii.gz"), "a2.nii.gz"], "label": "labels/a.nii.gz"},
    }
    touch(tmp_path, ["unused_0000"], dataset={"dataset": named})
    first, second = list_cases(tmp_path)
    assert (first.id, second.id) == ("a", "b") and training_ids(tmp_path) == ["a", "b"]
    assert first.files == {"0000": elsewhere / "a1.nii.gz", "0001": tmp_path / "a2.nii.gz"}
    assert second.files["0001"] == elsewhere / "b_t2.nii.gz" and second.truth == tmp_path / "labels" / "b.nii.gz"
    put(tmp_path / "other" / "a.nii.gz", dtype=np.uint8)
    assert [case.truth for case in list_cases(tmp_path, ref_folder=tmp_path / "other")] == [
        tmp_path / "other" / "a.nii.gz",
        None,
    ]
    (tmp_path / "dataset.json").write_text(json.dumps({"dataset": {"a": {"images": 3}}}), encoding="utf-8")
    with pytest.raises(DataError, match=r"dataset\.json has a data set that cannot be read"):
        list_cases(tmp_path)


def test_a_case_with_and_without_a_channel_in_its_name_is_refused(tmp_path):
    touch(tmp_path, ["la_3", "la_3_0000", "la_4_0000"])
    with pytest.raises(DataError, match=r"two files for the image la_3: .*la_3\.nii\.gz and .*la_3_0000\.nii\.gz"):
        list_cases(tmp_path)


def test_a_label_whose_only_image_is_another_channel_is_said(tmp_path):
    touch(tmp_path, ["la_3_0001"], ["la_3"])
    assert skipped_files(tmp_path) == [f"labels in {tmp_path / 'labelsTr'} without an image: la_3.nii.gz"]


def test_a_damaged_dataset_json_is_refused_and_a_mark_of_its_encoding_is_not(tmp_path):
    touch(tmp_path, ["a_0000"])
    index = tmp_path / "dataset.json"
    index.write_text(
        json.dumps({"dataset": {"b": {"images": ["x.nii.gz"], "label": "y.nii.gz"}}}), encoding="utf-8-sig"
    )
    assert [case.id for case in list_cases(tmp_path)] == ["b"]
    index.write_text('{"training": [', encoding="utf-8")
    with pytest.raises(DataError, match=r"dataset\.json cannot be read"):
        list_cases(tmp_path)
