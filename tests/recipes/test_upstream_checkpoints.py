"""Checkpoints as milesial/Pytorch-UNet and mmsegmentation write them give the masks that their own code makes."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from helpers.data.case import Case
from helpers.errors import CheckpointError, DataError, ParameterError
from helpers.inference.predictor import CallablePredictor
from helpers.networks.fcn import FCNResNet50D8
from helpers.networks.unet import UNet
from helpers.recipes import load
from helpers.recipes.parts import run_network

PHOTOGRAPH = np.random.default_rng(3).integers(0, 256, (3, 6, 9), np.uint8).repeat(10, axis=1).repeat(10, axis=2)


def unet(**arguments) -> UNet:
    torch.manual_seed(5)
    network = UNet(base_channels=4, **arguments)
    channels = arguments.get("n_channels", 3)
    image = torch.from_numpy(np.float32(np.resize(PHOTOGRAPH, (1, channels, 60, 90))) / 255)
    with torch.no_grad():
        for _ in range(30):  # normalisations and biases as after some training: every class is somewhere the largest
            network.train()(image)
        logits = network.eval()(image)
        network.outc.conv.bias -= logits.mean(dim=(0, 2, 3))
    return network


def saved_unet(folder: Path, mask_values=None, **arguments) -> tuple[UNet, Path]:
    """A file of upstream's train.py: the bare state dict, since December 2022 with the values of the masks."""
    network, path = unet(**arguments), folder / "checkpoint_epoch5.pth"
    torch.save(network.state_dict() | ({"mask_values": mask_values} if mask_values else {}), path)
    return network, path


def upstream_mask(network: UNet, photograph: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Upstream's predict.py: scale, run, scale the scores back, decide."""
    scaled = Image.fromarray(photograph.transpose(1, 2, 0)).resize(size[::-1], Image.Resampling.BICUBIC)
    batch = torch.from_numpy(np.asarray(scaled, np.float32).transpose(2, 0, 1)[None] / 255)
    with torch.inference_mode():
        logits = functional.interpolate(network(batch), photograph.shape[1:], mode="bilinear")
    return logits.argmax(dim=1)[0].numpy() if logits.shape[1] > 1 else (logits.sigmoid() > 0.5)[0, 0].numpy()


def segment(name: str, photograph: np.ndarray, **given) -> np.ndarray:
    recipe = load(name)
    params = recipe.prepare_params(profile="demo", **given)
    network, _ = recipe.model.load_trained(params)
    predictor = CallablePredictor(lambda batch: run_network(network, batch))
    return recipe.preparation.segment(Case("a", photograph, None, None), predictor, params)


@pytest.mark.parametrize(
    ("n_classes", "bilinear", "size"),
    [(2, False, 48), (2, True, [40, 60]), (3, True, 48), (3, False, [40, 60]), (5, False, 48), (5, True, [40, 60])],
)
def test_masks_of_several_classes_are_upstream_s(n_classes, bilinear, size, tmp_path):
    network, path = saved_unet(
        tmp_path, list(range(n_classes)), n_classes=n_classes, bilinear=bilinear, conv_bias=False
    )
    expected = upstream_mask(network, PHOTOGRAPH, tuple(size) if isinstance(size, list) else (size, size))
    mask = segment("unet_carvana", PHOTOGRAPH, checkpoint=str(path), size=size)
    assert len(np.unique(expected)) > 1
    assert np.mean(mask != expected) < 1e-3


def test_a_grey_network_takes_grey_photographs_only(tmp_path):
    _, path = saved_unet(tmp_path, n_channels=1, conv_bias=False)
    grey = np.repeat(PHOTOGRAPH[:1], 3, axis=0)
    assert segment("unet_carvana", grey, checkpoint=str(path), size=48).shape == grey.shape[1:]
    with pytest.raises(DataError, match="in colour, and the network takes grey"):
        segment("unet_carvana", PHOTOGRAPH, checkpoint=str(path), size=48)


def test_a_network_of_four_channels_is_refused_before_any_work(tmp_path):
    _, path = saved_unet(tmp_path, n_channels=4)
    with pytest.raises(CheckpointError, match="4 input channels"):
        load("unet_carvana").prepare_params(profile="demo", checkpoint=str(path))


def test_classes_are_read_and_written_with_the_checkpoint_s_values(tmp_path):
    _, path = saved_unet(tmp_path, [0, 100, 200], n_classes=3, conv_bias=False)
    recipe = load("unet_carvana")
    params = recipe.prepare_params(profile="demo", checkpoint=str(path), class_names=["street", "car", "sky"])
    assert recipe.labels(params).names == ("street", "car", "sky")
    assert recipe.labels(params).values == (0, 100, 200)
    root = tmp_path / "data"
    for folder in ("imgs", "masks"):
        (root / folder).mkdir(parents=True)
    truth = np.array([[0, 100], [200, 100]], np.uint8)
    Image.fromarray(PHOTOGRAPH[:, :2, :2].transpose(1, 2, 0)).save(root / "imgs" / "a.png")
    Image.fromarray(truth).save(root / "masks" / "a.png")
    (files,) = recipe.cases.list_cases(root, params)
    case = recipe.cases.read_case(files, params)
    assert case.truth.tolist() == [[0, 1], [2, 1]]
    recipe.cases.write_mask(case.truth, case, tmp_path / "mask.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "mask.png")), truth)
    assert np.array_equal(recipe.cases.read_mask(tmp_path / "mask.png", case), case.truth)
    scores = recipe.scoring.score(np.array([[0, 1], [1, 1]]), case.truth, params)
    assert list(scores) == list(recipe.score_names(params))
    assert scores["IoU car"] == pytest.approx(2 / 3) and scores["IoU sky"] == 0


def test_colours_of_masks_are_classes(tmp_path):
    colours = [[0, 0, 0], [255, 0, 0], [0, 255, 0]]
    _, path = saved_unet(tmp_path, colours, n_classes=3, conv_bias=False)
    recipe = load("unet_carvana")
    params = recipe.prepare_params(profile="demo", checkpoint=str(path))
    case = Case("a", PHOTOGRAPH[:, :1, :3], None, None, notes={"mask_values": recipe.model.mask_values(params)})
    recipe.cases.write_mask(np.array([[0, 1, 2]], np.uint8), case, tmp_path / "mask.png")
    assert np.asarray(Image.open(tmp_path / "mask.png")).tolist() == [colours]
    assert recipe.cases.read_mask(tmp_path / "mask.png", case).tolist() == [[0, 1, 2]]
    Image.fromarray(np.full((1, 3, 3), 7, np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="does not know"):
        recipe.cases.read_mask(tmp_path / "mask.png", case)


def test_a_size_that_distorts_a_photograph_is_refused(tmp_path):
    recipe = load("unet_carvana")
    params = recipe.prepare_params(profile="demo", size=[64, 64])
    root = tmp_path / "data"
    (root / "test").mkdir(parents=True)
    Image.fromarray(PHOTOGRAPH.transpose(1, 2, 0)).save(root / "test" / "a.png")
    (files,) = recipe.cases.list_cases(root, params.model_copy(update={"split": "test"}))
    with pytest.raises(DataError, match=r"a\.png would be distorted.*size \[64, 96\]"):
        recipe.cases.read_case(files, params)


def fcn_file(folder: Path, num_classes: int, meta: dict, auxiliary: int | None = 4) -> Path:
    torch.manual_seed(5)
    network = FCNResNet50D8(num_classes, 4, 8, auxiliary, blocks=(1, 1, 1, 1))
    path = folder / "iter_20000.pth"
    torch.save({"meta": meta, "state_dict": OrderedDict(network.state_dict()), "optimizer": {}}, path)
    return path


@pytest.mark.parametrize(
    "meta, names",
    [
        ({"mmseg_version": "0.27.0", "CLASSES": ("road", "car")}, ("road", "car")),
        ({"mmengine_version": "0.10.7", "dataset_meta": {"classes": ("road", "car")}}, ("road", "car")),
        ({}, ("class 0", "class 1")),
    ],
    ids=["mmsegmentation 0", "mmsegmentation 1", "no names"],
)
@pytest.mark.parametrize("auxiliary", [4, None])
def test_fcn_has_the_checkpoint_s_classes_and_never_voc_s_for_others(meta, names, auxiliary, tmp_path):
    recipe = load("fcn_voc2012")
    params = recipe.prepare_params(profile="demo", checkpoint=str(fcn_file(tmp_path, 2, meta, auxiliary)), size=64)
    assert recipe.labels(params).names == names
    network, report = recipe.model.load_trained(params)
    assert report.wrapper == "state_dict" and (network.auxiliary_head is None) == (auxiliary is None)
    tally = recipe.scoring.tally(np.array([[0, 1]]), np.array([[0, 1]]), params)
    means = recipe.scoring.aggregate([{}], [tally], params)
    assert [name for name in means if name.startswith("IoU ")] == [f"IoU {name}" for name in names]
    with pytest.raises(ParameterError, match="class_names does not fit"):
        recipe.prepare_params(profile="demo", checkpoint=params.checkpoint, class_names=["one"])


def test_fcn_with_one_output_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="one output channel"):
        load("fcn_voc2012").prepare_params(profile="demo", checkpoint=str(fcn_file(tmp_path, 1, {})))


def test_averages_are_run_when_the_user_names_them(tmp_path):
    main, other = unet(conv_bias=False).state_dict(), unet(conv_bias=False).state_dict()
    other["outc.conv.bias"] = other["outc.conv.bias"] + 50
    path = tmp_path / "last.pth"
    torch.save({"model": main, "model_ema": other}, path)
    assert segment("unet_carvana", PHOTOGRAPH, checkpoint=str(path), size=48, checkpoint_key="model_ema").all()
    assert not segment("unet_carvana", PHOTOGRAPH, checkpoint=str(path), size=48).all()


@pytest.mark.parametrize(
    "values", [[0, 65535], [[0, 255], [255, 255]], [0, [255, 0, 0]]], ids=["16 bits", "LA", "mixed"]
)
def test_mask_values_that_cannot_be_read_are_refused_before_any_work(values, tmp_path):
    _, path = saved_unet(tmp_path, values, n_classes=2, conv_bias=False)
    recipe = load("unet_carvana")
    with pytest.raises(CheckpointError, match="trained with masks that are not read"):
        recipe.labels(recipe.prepare_params(profile="demo", checkpoint=str(path)))


def test_mask_values_that_are_no_whole_numbers_are_refused(tmp_path):
    _, path = saved_unet(tmp_path, [0.0, 0.5], n_classes=2, conv_bias=False)
    with pytest.raises(CheckpointError, match="unusable mask_values"):
        load("unet_carvana").prepare_params(profile="demo", checkpoint=str(path))
