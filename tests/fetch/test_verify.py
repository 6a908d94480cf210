"""`verify` names every problem of a data set, and finds none in a complete one."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, write_volume
from helpers.errors import ParameterError
from helpers.fetch import verify

GRID = Geometry.identity((4, 5, 6), (1.0, 1.0, 1.0))
MOVED = dataclasses.replace(GRID, origin_mm_xyz=(0.0, 0.0, 5.0))


def write_array(path: Path, array: np.ndarray, geometry: Geometry = GRID) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, Volume(array[None], geometry))


def image_array(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, GRID.size_zyx).astype(np.int16)


def label_array(*values: int) -> np.ndarray:
    label = np.zeros(GRID.size_zyx, np.uint8)
    label.flat[: len(values)] = values
    return label


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def only_problem(report) -> str:
    assert len(report.problems) == 1, report.problems
    assert not report.ok and "\n" not in report.problems[0]
    return report.problems[0]


def make_brats(root: Path) -> Path:
    for place in ("Training/HGG/a", "Training/HGG/b", "Training/LGG/c", "Validation/d"):
        folder = root / f"MICCAI_BraTS_2018_Data_{place}"
        for role in ("t1", "t1ce", "t2", "flair"):
            write_array(folder / f"{folder.name}_{role}.nii.gz", image_array())
        if not place.startswith("Validation"):
            write_array(folder / f"{folder.name}_seg.nii.gz", label_array(1, 2, 4))
    return root


def test_brats_names_every_problem_of_every_case(tmp_path):
    root = make_brats(tmp_path)
    report = verify("unet3d_brats", root)
    assert report.ok and report.n_cases == 4 and "(the official set has 285)" in str(report)
    hgg, lgg = root / "MICCAI_BraTS_2018_Data_Training/HGG", root / "MICCAI_BraTS_2018_Data_Training/LGG"
    (hgg / "a/a_t2.nii.gz").unlink()
    cut(hgg / "b/b_t1ce.nii.gz")
    write_array(hgg / "b/b_seg.nii.gz", label_array(1), MOVED)
    (lgg / "c/c_seg.nii.gz").unlink()
    problems = verify("unet3d_brats", root).problems
    assert len(problems) == 4
    assert "case a lacks t2" in problems[0]
    assert "b_t1ce.nii.gz is truncated or damaged" in problems[1]
    assert "b_seg.nii.gz is on another grid than b_t1.nii.gz: origin" in problems[2]
    assert "case c has no seg" in problems[3]


def test_labels_of_no_brats_year_are_a_problem(tmp_path):
    root = make_brats(tmp_path)
    seg = root / "MICCAI_BraTS_2018_Data_Training/HGG/a/a_seg.nii.gz"
    write_array(seg, label_array(1, 3, 4))
    assert "has labels that BraTS does not define" in only_problem(verify("unet3d_brats", root))


def make_carvana(root: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 255, (20, 30, 3), np.uint8)
    for name in ("x_01", "x_02", "x_03"):
        for folder in ("train", "train_masks"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / f"train/{name}.jpg")
        mask = Image.fromarray((pixels[..., 0] > 99).astype(np.uint8))
        mask.putpalette(bytes(3) + bytes([255] * 3))
        mask.save(root / f"train_masks/{name}_mask.gif")
    return root


def test_carvana_names_the_missing_mask_and_whatever_else_is_wrong(tmp_path):
    root = make_carvana(tmp_path / "carvana")
    assert verify("unet_carvana", root).ok and verify("unet_carvana", tmp_path).ok
    (root / "train_masks/x_01_mask.gif").unlink()
    cut(root / "train/x_02.jpg")
    Image.new("P", (7, 8)).save(root / "train_masks/x_03_mask.gif")
    Image.new("P", (7, 8)).save(root / "train_masks/y_09_mask.gif")
    problems = verify("unet_carvana", tmp_path).problems
    assert len(problems) == 4
    assert "x_01_mask.gif does not exist" in problems[0]
    assert "x_02.jpg cannot be read as an image" in problems[1]
    assert "image and mask of x_03 differ in size" in problems[2]
    assert "y_09_mask.gif has no photograph" in problems[3]


def make_voc(root: Path, ids=("2007_000001", "2007_000002", "2007_000003")) -> Path:
    folder = root / "VOCdevkit/VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    for name in ids:
        Image.new("RGB", (12, 9)).save(folder / f"JPEGImages/{name}.jpg")
        Image.new("P", (12, 9), 15).save(folder / f"SegmentationClass/{name}.png")
    (folder / "ImageSets/Segmentation/val.txt").write_text("\n".join(ids), encoding="utf-8")
    return folder


def test_voc_names_ids_without_photograph_or_label(tmp_path):
    folder = make_voc(tmp_path)
    assert verify("fcn_voc2012", tmp_path).ok and verify("fcn_voc2012", folder).ok
    (folder / "JPEGImages/2007_000001.jpg").unlink()
    (folder / "SegmentationClass/2007_000001.png").write_bytes(b"")
    Image.new("RGB", (12, 9)).save(folder / "SegmentationClass/2007_000003.png")
    problems = verify("fcn_voc2012", tmp_path).problems
    assert len(problems) == 3
    assert "2007_000001.jpg does not exist" in problems[0]
    assert "2007_000001.png is empty" in problems[1]
    assert "2007_000003.png does not contain class numbers" in problems[2]


def make_heart(root: Path, **change) -> Path:
    task = root / "Task02_Heart"
    names = ("la_003", "la_004", "la_005")
    for name in names:
        write_array(task / f"imagesTr/{name}.nii.gz", image_array())
        write_array(task / f"labelsTr/{name}.nii.gz", label_array(1, 1))
    write_array(task / "imagesTs/la_001.nii.gz", image_array())
    pairs = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    content = {"labels": {"0": "background", "1": "left atrium"}, "numTraining": 3, "training": pairs}
    content |= {"test": ["./imagesTs/la_001.nii.gz"]} | change
    (task / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return task


def test_a_decathlon_task_is_compared_with_its_description(tmp_path):
    task = make_heart(tmp_path)
    (task / "imagesTr/._la_003.nii.gz").write_bytes(b"a file manager's twin")
    assert verify("nnunet_heart", tmp_path).ok and verify("nnunet_heart", task).ok
    (task / "labelsTr/la_003.nii.gz").unlink()
    write_array(task / "labelsTr/la_004.nii.gz", label_array(1, 7), MOVED)
    shutil.copy(task / "imagesTr/la_005.nii.gz", task / "imagesTr/la_099.nii.gz")
    (task / "imagesTs/la_001.nii.gz").write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")
    problems = verify("nnunet_heart", tmp_path).problems
    assert len(problems) == 5
    assert "labelsTr/la_003.nii.gz does not exist" in problems[0]
    assert "labelsTr/la_004.nii.gz is on another grid than la_004.nii.gz: origin" in problems[1]
    assert "labels that dataset.json does not declare: [7]" in problems[2]
    assert "la_001.nii.gz is a Git LFS pointer" in problems[3]
    assert "la_099.nii.gz is not listed in dataset.json" in problems[4]


def test_a_description_with_outside_paths_or_contradictions_is_a_problem(tmp_path):
    pair = {"image": "../../etc/passwd", "label": "labelsTr/la_003.nii.gz"}
    make_heart(tmp_path, training=[pair], numTraining=20)
    text = str(verify("nnunet_heart", tmp_path))
    assert "'../../etc/passwd', which is not below" in text and "lists 1 training cases and declares 20" in text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"training": [1], "labels": {}}', "{"])
def test_a_broken_description_is_one_problem(text, tmp_path):
    (make_heart(tmp_path) / "dataset.json").write_text(text, encoding="utf-8")
    assert "is not the description of a Decathlon task" in only_problem(verify("nnunet_heart", tmp_path))


@pytest.mark.parametrize("recipe", ["unet3d_brats", "unet_carvana", "fcn_voc2012", "unetpp3d_liver", "nnunet_heart"])
def test_an_empty_folder_is_a_problem_and_an_absent_one_an_error(recipe, tmp_path):
    assert verify(recipe, tmp_path).problems and verify(recipe, tmp_path).n_cases == 0
    with pytest.raises(ParameterError, match="is not a folder"):
        verify(recipe, tmp_path / "nowhere")


def test_weights_next_to_the_data_are_checked_too(tmp_path):
    make_voc(tmp_path)
    path = tmp_path / "fcn_r50-d8_512x512_20k_voc12aug_20200617_010715-52dc5306.pth"
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, path)
    report = verify("fcn_voc2012", tmp_path)
    assert "is not the expected file" in only_problem(report)
    assert "✓ cases: 3 checked" in str(report) and "✗ fcn_r50_d8_weights" in str(report)


def test_weights_without_a_published_digest_still_have_to_load(tmp_path):
    make_carvana(tmp_path)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "UNet.pth")
    report = verify("unet_carvana", tmp_path)
    assert report.ok and "✓ unet_weights: 1 tensors, sha256" in str(report)
    cut(tmp_path / "UNet.pth")
    assert "UNet.pth is truncated or damaged" in only_problem(verify("unet_carvana", tmp_path))


REAL = [
    ("unet3d_brats", "brats18-like", 3),
    ("unet_carvana", "carvana-like", 3),
    ("fcn_voc2012", "voc-like", 3),
    ("unetpp3d_liver", "msd-like", 3),
    ("nnunet_heart", "msd-like", 5),
]


@pytest.mark.skipif("COOKBOOK_DATA" not in os.environ, reason="COOKBOOK_DATA names no folder of real data")
@pytest.mark.parametrize("recipe, folder, n_cases", REAL)
def test_real_data_in_the_publishers_layouts_has_no_problem(recipe, folder, n_cases):
    report = verify(recipe, Path(os.environ["COOKBOOK_DATA"]) / folder)
    assert report.ok, report
    assert report.n_cases == n_cases
