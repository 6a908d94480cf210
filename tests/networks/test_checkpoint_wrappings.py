"""Every wrapping loads strictly, and the error for a misfit lists the keys."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from helpers.errors import CheckpointError
from helpers.networks.checkpoint import load_checkpoint, load_state_dict
from helpers.networks.unet3d import UNet3D
from tests.networks.tiny_unet3d import tiny_network


@pytest.fixture
def trained() -> UNet3D:
    return tiny_network(seed=1)


@pytest.fixture
def fresh() -> UNet3D:
    return tiny_network(seed=2)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())


def prefixed(state: dict, prefix: str) -> OrderedDict:
    return OrderedDict((prefix + key, value) for key, value in state.items())


def medical_zoo(state):
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]}
    return {"epoch": 17, "model_state_dict": state, "optimizer_state_dict": optimizer}


def nnunet_v1(state):
    losses = [np.float64(0.5), np.float32(0.25), 0.125]
    return {
        "epoch": 1000,
        "state_dict": state,
        "optimizer_state_dict": {"state": {}, "param_groups": []},
        "lr_scheduler_state_dict": None,
        "plot_stuff": (losses, losses, [], [np.array([0.9, 0.8])]),
        "best_stuff": (np.float64(0.9), np.float64(0.8), 0.7),
        "amp_grad_scaler": {"scale": 65536.0, "growth_factor": 2.0},
    }


def nnunet_v2(state):
    return {
        "network_weights": state,
        "optimizer_state": {"state": {}, "param_groups": [{"lr": np.float64(1e-2)}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float32(0.9)], "dice_per_class_or_region": [[np.float32(0.9)]]},
        "_best_ema": np.float64(0.91),
        "current_epoch": 1000,
        "init_args": {"configuration": "2d", "fold": 0, "plans": {"patch_size": [320, 256]}},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
    }


def mmseg(state):
    meta = {
        "mmseg_version": "0.27.0",
        "CLASSES": ("background", "aeroplane"),
        "PALETTE": np.zeros((2, 3), np.uint8),
        "iter": 20000,
    }
    return {"meta": meta, "state_dict": OrderedDict(state), "optimizer": {"state": {}, "param_groups": []}}


WRAPPINGS = {
    "bare": (lambda state: OrderedDict(state), "bare"),
    "bare with mask_values": (lambda state: {**state, "mask_values": [0, 1]}, "bare"),
    "DataParallel": (lambda state: prefixed(state, "module."), "bare"),
    "torch.compile": (lambda state: prefixed(state, "_orig_mod."), "bare"),
    "MedicalZoo": (medical_zoo, "model_state_dict"),
    "MedicalZoo of DataParallel": (lambda state: medical_zoo(prefixed(state, "module.")), "model_state_dict"),
    "nnU-Net v1": (nnunet_v1, "state_dict"),
    "nnU-Net v1 of DistributedDataParallel": (
        lambda state: nnunet_v1(prefixed(state, "module.")),
        "state_dict",
    ),
    "nnU-Net v2": (nnunet_v2, "network_weights"),
    "mmseg": (mmseg, "state_dict"),
    "wrapped twice": (lambda state: {"state_dict": {"model_state_dict": state}}, None),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("name", WRAPPINGS)
def test_every_wrapping_loads(name, zipped, tmp_path, trained, fresh):
    wrap, wrapper = WRAPPINGS[name]
    path = tmp_path / "weights.pth"
    torch.save(wrap(trained.state_dict()), path, _use_new_zipfile_serialization=zipped)
    report = load_checkpoint(fresh, path)
    assert same_weights(fresh, trained)
    assert report.n_tensors == len(trained.state_dict())
    assert report.wrapper == (wrapper or "state_dict > model_state_dict")


def test_short_notes_of_the_file_are_kept_and_the_rest_is_dropped(tmp_path, trained):
    path = tmp_path / "weights.pth"
    torch.save(nnunet_v2(trained.state_dict()), path)
    _, notes = load_state_dict(path)
    assert notes["trainer_name"] == "nnUNetTrainer" and notes["_best_ema"] == "0.91"
    assert "logging" not in notes and "optimizer_state" not in notes
    torch.save(mmseg(trained.state_dict()), path)
    assert load_state_dict(path)[1] == {"meta.mmseg_version": "0.27.0", "meta.iter": "20000"}


def test_safetensors_load_with_their_metadata(tmp_path, trained, fresh):
    path = tmp_path / "weights.safetensors"
    save_file(trained.state_dict(), path, metadata={"base_n_filter": "1"})
    report = load_checkpoint(fresh, path)
    assert same_weights(fresh, trained)
    assert report.wrapper == "safetensors" and report.metadata == {"base_n_filter": "1"}


def test_a_wrapped_file_of_which_strict_false_would_load_nothing_is_loaded(tmp_path, trained, fresh):
    path = tmp_path / "UNET3D.pth"
    torch.save(medical_zoo(trained.state_dict()), path)
    untouched = tiny_network(seed=2)
    fresh.load_state_dict(torch.load(path, weights_only=True), strict=False)
    assert same_weights(fresh, untouched)
    load_checkpoint(fresh, path)
    assert same_weights(fresh, trained)


def test_a_misfit_is_listed_and_the_network_stays_unchanged(tmp_path, trained, fresh):
    state = dict(trained.state_dict())
    first, second, *rest = state
    state["stranger.weight"] = state.pop(first)
    state[second] = torch.zeros(7)
    for key in rest[:7]:
        del state[key]
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(fresh, path)
    line = str(caught.value)
    assert "8 missing: " + ", ".join([first, *rest[:4]]) + ", …" in line
    assert "1 unexpected: stranger.weight" in line
    assert f"1 of another shape: {second} is (7,) instead of {tuple(trained.state_dict()[second].shape)}" in line
    assert "\n" not in line and rest[4] not in line
    assert same_weights(fresh, tiny_network(seed=2))


def test_keys_with_other_names_are_adapted(tmp_path, trained, fresh):
    path = tmp_path / "weights.pth"
    torch.save(prefixed(trained.state_dict(), "net/"), path)
    load_checkpoint(fresh, path, adapt=lambda state: {key[4:]: value for key, value in state.items()})
    assert same_weights(fresh, trained)
