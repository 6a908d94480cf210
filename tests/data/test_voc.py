"""The VOC reader reads VOC's own layout and names what a copy of it lacks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.data.case import Case, CaseFiles
from helpers.data.letterbox import letterbox, restore_as_source, restore_exact
from helpers.data.voc import (
    CLASSES,
    IGNORE_INDEX,
    find_voc_folder,
    list_voc_cases,
    palette,
    read_label,
    read_voc_case,
    say_layout,
    write_label,
)
from helpers.errors import DataError
from helpers.recipes import load

REAL = os.environ.get("COOKBOOK_DATA")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two cases in VOC's layout, the second of the split first."""
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for case_id, shape in (("2007_000033", (12, 20)), ("2007_000001", (16, 10))):
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "JPEGImages" / f"{case_id}.jpg")
        label = rng.choice(np.array([0, 7, 20, 255], np.uint8), shape)
        write_label(folder / "SegmentationClass" / f"{case_id}.png", label)
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_000033\n2007_000001\n\n", encoding="utf-8")
    return tmp_path


def ids(cases: list[CaseFiles]) -> list[str]:
    return [case.id for case in cases]


def read_first(root: Path) -> Case:
    """The case 2007_000033."""
    return read_voc_case(list_voc_cases(root)[0])


def folder_of(root: Path) -> Path:
    return root / "VOCdevkit" / "VOC2012"


def test_the_palette_is_that_of_voc():
    colours = palette()
    published = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    for index, colour in {**published, 255: (224, 224, 192)}.items():
        assert tuple(colours[index].tolist()) == colour


def test_there_are_21_classes_in_vocs_order():
    assert len(CLASSES) == 21
    assert [CLASSES[i] for i in (0, 1, 5, 7, 15, 20)] == [
        "background", "aeroplane", "bottle", "car", "person", "tvmonitor",
    ]  # fmt: skip


def test_the_folder_is_found_from_above_and_from_itself(root):
    for start in (root, root / "VOCdevkit", folder_of(root)):
        assert find_voc_folder(start) == folder_of(root)
    with pytest.raises(DataError, match="does not contain a VOC data set"):
        find_voc_folder(root / "elsewhere")


def test_split_keeps_the_files_order_and_labelled_is_sorted(root):
    assert ids(list_voc_cases(root)) == ["2007_000033", "2007_000001"]
    assert ids(list_voc_cases(root, "labelled")) == ["2007_000001", "2007_000033"]


def test_unknown_split_names_the_known_ones(root):
    with pytest.raises(DataError, match="one of val, labelled"):
        list_voc_cases(root, "minival")


def test_empty_split_is_refused(root):
    (folder_of(root) / "ImageSets" / "Segmentation" / "val.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="is empty"):
        list_voc_cases(root)


@pytest.mark.parametrize("line", ["../../secret", "a/b", "2007_000033 1", "..", "/etc/passwd"])
def test_ids_cannot_lead_outside_the_data_set(root, line):
    (folder_of(root) / "ImageSets" / "Segmentation" / "val.txt").write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match="not a VOC id"):
        list_voc_cases(root)


def test_case_is_read_as_stored(root):
    case = read_first(root)
    assert case.image.shape == (3, 12, 20) and case.image.dtype == np.uint8
    assert case.truth.shape == (12, 20) and case.truth.dtype == np.uint8
    assert set(np.unique(case.truth)) == {0, 7, 20, IGNORE_INDEX}
    files = list_voc_cases(root)[0]
    assert read_voc_case(CaseFiles(files.id, files.files)).truth is None


def test_written_label_is_a_palette_png_in_vocs_colours(tmp_path):
    label = np.array([[0, 1, 20], [255, 15, 7]], np.uint8)
    path = write_label(tmp_path / "a.png", label)
    assert (read_label(path) == label).all()
    with Image.open(path) as image:
        assert image.mode == "P"
        assert (np.asarray(image.convert("RGB")) == palette()[label]).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("kind", ["JPEGImages/2007_000033.jpg", "SegmentationClass/2007_000033.png"])
def test_missing_truncated_and_foreign_files_are_named(root, kind):
    path = folder_of(root) / kind
    whole = path.read_bytes()
    for content in (b"version https://git-lfs.github.com/spec/v1\n", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{path.name} cannot be read as an image"):
            read_first(root)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=rf"{path.name} is empty"):
        read_first(root)
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name} does not exist"):
        read_first(root)


def test_labels_of_colours_are_refused(root):
    path = folder_of(root) / "SegmentationClass" / "2007_000033.png"
    Image.fromarray(palette()[np.zeros((12, 20), np.uint8)]).save(path)
    with pytest.raises(DataError, match="image mode RGB"):
        read_first(root)


def test_classes_beyond_the_network_s_are_unknown():
    recipe = load("fcn_voc2012")
    known = recipe.scoring.truth_values(recipe.prepare_params(profile="demo"))
    assert 20 in known and 255 in known and 21 not in known


def test_label_of_another_size_is_refused(root):
    write_label(folder_of(root) / "SegmentationClass" / "2007_000033.png", np.zeros((20, 12), np.uint8))
    with pytest.raises(DataError, match=r"label \(20, 12\), expected \(12, 20\)"):
        read_first(root)


def test_grey_photographs_become_rgb(root):
    Image.fromarray(np.full((12, 20), 90, np.uint8)).save(folder_of(root) / "JPEGImages" / "2007_000033.jpg")
    assert read_first(root).image.shape == (3, 12, 20)


@pytest.mark.skipif(REAL is None, reason="COOKBOOK_DATA is not set")
def test_real_voc_cases_survive_letterboxing_and_restoring():
    root = Path(REAL) / "voc-like"
    cases = list_voc_cases(root, "labelled")
    assert set(ids(list_voc_cases(root, "val"))) <= set(ids(cases))
    for case in map(read_voc_case, cases):
        prepared = letterbox(case.image.transpose(1, 2, 0))
        square = np.zeros((500, 500), np.uint8)
        rows = slice(prepared.top, prepared.top + prepared.height)
        square[rows, prepared.left : prepared.left + prepared.width] = case.truth
        assert (restore_exact(square, prepared) == case.truth).all()
        assert restore_as_source(square, prepared).shape == case.truth.shape


def test_a_folder_of_photographs_is_run_without_a_truth(tmp_path):
    for name in ("b 2[1].JPG", "a.png", "c.jpeg"):
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / name, format="PNG")
    (tmp_path / "notes.txt").write_text("not a picture", encoding="utf-8")
    cases = list_voc_cases(tmp_path)
    assert ids(cases) == ["a", "b 2[1]", "c"] and all(case.truth is None for case in cases)
    assert read_voc_case(cases[1]).truth is None
    assert say_layout(tmp_path) == [f"{tmp_path} has no JPEGImages: its photographs are run, without a truth"]


def test_photographs_without_splits_or_labels_are_run(root):
    folder = folder_of(root)
    assert say_layout(root) == []
    shutil.rmtree(folder / "ImageSets")
    assert ids(list_voc_cases(root)) == ["2007_000001", "2007_000033"]
    shutil.rmtree(folder / "SegmentationClass")
    assert [case.truth for case in list_voc_cases(root)] == [None, None]
    assert [line.split(" has no ")[1] for line in say_layout(root)] == [
        "ImageSets/Segmentation: all photographs are run", "labels in SegmentationClass",
    ]  # fmt: skip


def test_a_missing_label_among_others_is_named(root):
    (folder_of(root) / "SegmentationClass" / "2007_000033.png").unlink()
    with pytest.raises(DataError, match=r"SegmentationClass/2007_000033\.png does not exist"):
        read_first(root)


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_labels_whose_colours_were_reordered_are_refused(tmp_path, suffix):
    label = np.zeros((8, 10), np.uint8)
    label[2:5], label[6] = 15, 255
    path = tmp_path / f"label.{suffix}"
    Image.open(write_label(tmp_path / "intact.png", label)).convert("RGB").quantize(8).save(path)
    with pytest.raises(DataError, match="colours of VOC in another order"):
        read_label(path)
    read_label(path, ("background", "rust"))  # other classes have other palettes


def test_a_label_stored_as_jpeg_is_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 15, np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="stored as JPEG"):
        read_label(tmp_path / "a.jpg")


def test_a_split_may_have_a_mark_of_its_encoding_and_no_id_twice(root):
    split = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "mine.txt"
    split.write_text("2007_000033\r\n", encoding="utf-8-sig")
    assert [case.id for case in list_voc_cases(root, "mine")] == ["2007_000033"]
    split.write_text("2007_000033\n2007_000033\n", encoding="utf-8")
    with pytest.raises(DataError, match="lists ids twice: received 2007_000033"):
        list_voc_cases(root, "mine")
    split.write_bytes(b"x\xe9\n")
    with pytest.raises(DataError, match="cannot be read"):
        list_voc_cases(root, "mine")


def test_photographs_of_other_formats_are_said(root):
    (root / "VOCdevkit" / "VOC2012" / "JPEGImages" / "a.heic").write_bytes(b"x")
    assert any("of formats that are not read: a.heic" in line for line in say_layout(root))
