"""An own model goes from its file and a card to scores, whatever kind of file it is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from helpers import recipes, stages
from helpers.card.torch_file import digest_of_factory
from helpers.data.formats.dicom import find_slices
from helpers.data.formats.dicom_seg import read_seg
from helpers.data.geometry import Geometry
from helpers.data.picture import write_png
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import CookbookError, ParameterError
from tests.card import small_models as small
from tests.data.dicom_files import write_on_grid

FACTORY = """
from torch import nn
def build(width):
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.ReLU(), nn.Conv2d(width, 2, 1))
"""
CARD = {"colour": "rgb", "truth": "{case}_mask.png"}


def network(axes: int = 2, channels: int = 3) -> nn.Module:
    """Bright pixels are the thing: a hidden layer and two logits, with chosen weights."""
    convolution = nn.Conv2d if axes == 2 else nn.Conv3d
    made = nn.Sequential(convolution(channels, 2, 1), nn.ReLU(), convolution(2, 2, 1)).eval()
    with torch.no_grad():
        made[0].weight.fill_(1 / channels)
        made[0].bias.zero_()
        made[2].weight.copy_(torch.tensor([[-5.0, -5.0], [5.0, 5.0]]).reshape(made[2].weight.shape))
        made[2].bias.copy_(torch.tensor([5.0, -5.0]))
    return made


def save(kind: str, folder: Path) -> dict:
    """Saves the network in one form, and returns the section of the card that names it."""
    example = torch.zeros(1, 3, 16, 24)
    if kind == "torchscript":
        torch.jit.trace(network(), example).save(str(folder / "net.pt"))
        return {"file": "net.pt"}
    if kind == "script":
        torch.jit.script(network()).save(str(folder / "net.ts"))
        return {"file": "net.ts"}
    if kind == "pt2":
        torch.export.save(torch.export.export(network(), (example,)), folder / "net.pt2")
        return {"file": "net.pt2"}
    (folder / "mine.py").write_text(FACTORY, encoding="utf-8")
    torch.save({"state_dict": network().state_dict()}, folder / "weights.pt")
    return {"factory": "mine:build", "arguments": {"width": 2}, "checkpoint": "weights.pt"}


def run(folder: Path, card: dict, data: Path, **given: object):
    """Runs every stage to the scores."""
    (folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")
    places = {"card": str(folder / "card.yaml"), "data_root": str(data), "outputs": str(folder / "out")}
    recipe, made = stages.start_run("own_model", {"profile": "cpu", **places, **given})
    for stage in (stages.prepare_data, stages.export_onnx, stages.simplify_onnx, stages.apply_surgery):
        stage(recipe, made)
    for stage in (stages.lint_graph, stages.compile_model, stages.show_vendor_commands, stages.check_model_parity):
        stage(recipe, made)
    stages.infer_cases(recipe, made)
    scored = stages.score_cases(recipe, made)
    stages.finish_run(recipe, made)
    return made, scored.values["mean"]


@pytest.mark.parametrize("kind", ["torchscript", pytest.param("script", marks=pytest.mark.slow), "pt2", "factory"])
def test_every_kind_of_torch_file(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    data = small.write_pictures(tmp_path / "data")
    card = small.card_of("", data=CARD, preparation={"size": [16, 24]}) | {"model": save(kind, tmp_path)}
    made, mean = run(tmp_path, card, data, run_factory=kind == "factory")
    sys.modules.pop("mine", None)
    assert mean["Dice thing"] > 0.85
    assert made.results["parity"].values["device"]["largest"] <= 1e-4
    assert made.params.dynamic_batch is (kind != "pt2")
    assert any("torch ↔ exported" in check.name for check in made.results["parity"].checks)


def test_an_onnx_file_keeps_its_opset_and_its_mask_values(tmp_path):
    small.mixer(tmp_path / "m.onnx", "Softmax", opset=15)
    data = small.write_pictures(tmp_path / "data")
    card = small.card_of(
        "m.onnx",
        output={"kind": "probabilities"},
        data={"truth_values": {"thing": [1], "background": [0]}},
    ) | {"classes": {"background": 7, "thing": 255}}
    made, _ = run(tmp_path, card, data, cases=["p0"])
    assert made.params.opset == 15
    assert made.record.field("labels") == {"names": ["background", "thing"], "values": [7, 255]}
    from PIL import Image

    with Image.open(made.path("masks/p0.png")) as mask:
        assert set(np.unique(np.array(mask))) <= {7, 255}


def test_the_opset_is_the_nearest_that_the_target_takes(tmp_path):
    small.mixer(tmp_path / "m.onnx", opset=17)
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(small.card_of("m.onnx")), encoding="utf-8")
    recipe = recipes.load("own_model")
    params = recipe.prepare_params(profile="mlu370", card=str(tmp_path / "card.yaml"))
    assert params.opset == 13


def test_a_model_of_a_fixed_batch_runs_with_it_and_refuses_another(tmp_path):
    small.mixer(tmp_path / "m.onnx", batch=1)
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(small.card_of("m.onnx")), encoding="utf-8")
    recipe, given = recipes.load("own_model"), {"profile": "cpu", "card": str(tmp_path / "card.yaml")}
    params = recipe.prepare_params(**given, target="mlu370")
    assert (params.dynamic_batch, params.batch_size) == (False, 1)
    with pytest.raises(ParameterError, match="the model fixes its batch size: received batch_size 4, expected 1"):
        recipe.prepare_params(**given, batch_size=4)
    assert recipe.prepare_params(**given, batch_size=4, dynamic_batch=True).batch_size == 4


def test_volumes_with_windows_directions_and_a_region(tmp_path):
    torch.jit.trace(network(3, 2), torch.zeros(1, 2, 8, 8, 8)).save(str(tmp_path / "net.pt"))
    data = tmp_path / "data"
    data.mkdir()
    grid = Geometry((12, 14, 10), (2.0, 1.0, 1.0), (3.0, -4.0, 5.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    truth = np.zeros(grid.size_zyx, np.uint8)
    truth[3:9, 2:8, 4:9] = 5
    for channel in ("t1", "t2"):
        write_volume(data / f"a_{channel}.nii.gz", Volume((truth > 0).astype(np.float32)[None] * 200, grid))
    write_volume(data / "a_seg.nii.gz", Volume(truth[None], grid))
    card = {
        "model": {"file": "net.pt"},
        "data": {
            "kind": "volume",
            "files": {"t1": "{case}_t1.nii.gz", "t2": "{case}_t2.nii.gz"},
            "truth": "{case}_seg.nii.gz",
        },
        "preparation": {"fit": "window", "size": [8, 8, 8], "axes": "RAS", "intensity": [{"range": [0, 255]}]},
        "output": {"kind": "logits"},
        "classes": {"background": 0, "thing": 5},
        "masks": {"suffix": ".mha"},
        "scores": {"per_class": ["IoU"], "regions": {"everything": ["thing"]}},
    }
    made, mean = run(tmp_path, card, data)
    assert mean == {"IoU thing": 1.0, "IoU everything": 1.0}
    mask = read_volume(made.path("masks/a.mha"))
    assert np.array_equal(mask.array[0], truth) and mask.geometry.differences_from(grid) == []


@pytest.mark.slow
def test_masks_of_dicom_series_are_written_as_dicom_seg_and_reused(tmp_path):
    torch.jit.trace(network(3, 2), torch.zeros(1, 2, 8, 8, 8)).save(str(tmp_path / "net.pt"))
    voxels = np.zeros((12, 14, 10), np.int16)
    voxels[3:9, 2:8, 4:9] = 200
    grid = Geometry(voxels.shape, (2.0, 1.0, 1.0), (3.0, -4.0, 5.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    for channel in ("t1", "t2"):
        write_on_grid(tmp_path / "data" / "p1" / channel, voxels, grid, SeriesDescription=f"AX {channel}")
    card = {
        "model": {"file": "net.pt"},
        "data": {"kind": "volume", "files": {"t1": "{case}", "t2": "{case}"}, "truth": None},
        "preparation": {"fit": "window", "size": [8, 8, 8], "axes": "RAS", "intensity": [{"range": [0, 255]}]},
        "output": {"kind": "logits"},
        "classes": {"background": 0, "spleen": 5},
    }
    series = "t1 = AX t1; t2 = AX t2"
    plain, _ = run(tmp_path, card, tmp_path / "data", series=series)
    made, _ = run(tmp_path, card, tmp_path / "data", series=series, mask_format="dicom-seg")
    assert plain.folder != made.folder and not plain.path("dicom_seg").exists()
    assert (made.results["infer/p1"].status, made.results["seg/p1"].status) == ("reused", "made")
    slices, found = find_slices(tmp_path / "data" / "p1", "AX t1")
    mask = read_volume(made.path("masks/p1.nii.gz"))
    uids = {item.uid: index for index, item in enumerate(slices)}
    read = read_seg(made.path("dicom_seg/p1.dcm"), found, uids)
    assert mask.geometry.differences_from(found) == []
    np.testing.assert_array_equal(read, mask.array[0] // 5)
    assert read.sum() == (voxels > 0).sum()
    again, _ = run(tmp_path, card, tmp_path / "data", series=series, mask_format="dicom-seg")
    assert again.results["seg/p1"].status == "reused"


@pytest.mark.parametrize("is_demo", [True, False])
def test_dicom_seg_is_refused_before_any_work_where_there_is_no_series(tmp_path, is_demo):
    card = small.card_of("", data=CARD, preparation={"size": [16, 24]})
    data = small.write_pictures(tmp_path / "data")
    card |= {"model": save("torchscript", tmp_path)}
    with pytest.raises(CookbookError, match="are no DICOM series" if is_demo else "p0 is not a DICOM series"):
        run(tmp_path, card, "demo" if is_demo else data, mask_format="dicom-seg")
    assert not list(tmp_path.rglob("*.onnx"))


def test_an_edited_card_recomputes_what_depends_on_it(tmp_path):
    data = small.write_pictures(tmp_path / "data")
    card = small.card_of("", data=CARD, preparation={"size": [16, 24]}) | {"model": save("torchscript", tmp_path)}
    first, before = run(tmp_path, card, data)
    card["data"]["truth_values"] = {"background": [1], "thing": [0]}  # the masks stay, the truth does not
    second, after = run(tmp_path, card, data)
    assert second.folder == first.folder  # the same parameters
    assert before["Dice thing"] > 0.85 and after["Dice thing"] < 0.5
    assert second.results["data"].facts["case p0"] != first.results["data"].facts["case p0"]


def test_ignored_values_count_in_no_score(tmp_path):
    data = small.write_pictures(tmp_path / "data", count=1)
    truth = np.zeros((40, 60), np.uint8)
    truth[8:28, 10:40] = 1
    truth[18:] = 9  # half of the thing is undecided, and everything below it
    write_png(data / "p0_mask.png", truth)
    card = small.card_of("", data=CARD | {"ignore": [9]}, preparation={"size": [16, 24]})
    _, mean = run(tmp_path, card | {"model": save("torchscript", tmp_path)}, data)
    assert mean["Dice thing"] > 0.85  # the lower half of the mask would halve it


def test_an_edited_factory_has_another_key(tmp_path):
    (tmp_path / "net.py").write_text("from shared import build\n", encoding="utf-8")
    (tmp_path / "shared.py").write_text("build = 1\n", encoding="utf-8")
    first = digest_of_factory("net:build", tmp_path)
    assert first == digest_of_factory("net:build", tmp_path)
    (tmp_path / "shared.py").write_text("build = 2\n", encoding="utf-8")
    assert first != digest_of_factory("net:build", tmp_path)
    package = tmp_path / "nets" / "blocks"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("", encoding="utf-8")
    (package / "unet.py").write_text("raise RuntimeError('not imported')\n", encoding="utf-8")
    assert str(package / "unet.py") in digest_of_factory("nets.blocks.unet:UNet", tmp_path)
