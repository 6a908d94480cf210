"""No code in a pickle is run, and only plain values, tensors and numbers are read from one."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.errors import CheckpointError
from helpers.networks.checkpoint import load_state_dict
from helpers.networks.safe_pickle import read_plain_pickle
from helpers.networks.unet3d import UNet3D


class Hostile:
    """Makes an unpickler create a folder through os.system."""

    def __init__(self, witness: Path):
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"mkdir {self.witness}",)


def write_torch_zip(content, path):
    torch.save(content, path)


def write_torch_old(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_plain_pickle(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_newest_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("write", [write_torch_zip, write_torch_old, write_plain_pickle, write_newest_pickle])
def test_a_malicious_file_is_rejected_by_name_and_not_run(write, tmp_path):
    witness, path = tmp_path / "was_run", tmp_path / "evil.pth"
    write({"epoch": Hostile(witness), "state_dict": {"weight": torch.zeros(1)}}, path)
    with pytest.raises(CheckpointError, match=r"evil\.pth is rejected.* (posix|nt)\.system"):
        load_state_dict(path)
    assert not witness.exists()


def test_an_unrestricted_reader_would_run_the_malicious_file(tmp_path):
    witness, path = tmp_path / "was_run", tmp_path / "evil.pth"
    torch.save({"epoch": Hostile(witness)}, path)
    torch.load(path, weights_only=False)
    assert witness.exists()


def test_a_pickled_module_is_rejected_by_its_class(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(UNet3D(in_channels=1, n_classes=2, base_n_filter=1), path)
    with pytest.raises(CheckpointError, match=r"helpers\.networks\.unet3d\.UNet3D.*Nothing in it was run"):
        load_state_dict(path)


@pytest.mark.parametrize("value", [np.array([1, None], dtype=object), np.zeros(2, dtype="i4,f8"), np.array(["text"])])
def test_numpy_arrays_without_numbers_are_rejected(value, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "extra": value}, path)
    with pytest.raises(CheckpointError, match="rejected"):
        load_state_dict(path)


class ForgedDtype:
    """A dtype of int64 whose state claims that its bytes are references to objects."""

    def __reduce__(self):
        return np.dtype, ("i8", False, True), (3, "<", None, None, None, -1, -1, 63)


class HugeArray:
    """An array of ten terabytes with eight bytes of data."""

    def __reduce__(self):
        state = (1, (10**13,), np.dtype("u1"), False, bytes(8))
        return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state


@pytest.mark.parametrize("forged", [ForgedDtype(), HugeArray()])
def test_forged_states_do_not_reach_numpy(forged, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "extra": forged}, path)
    with pytest.raises(CheckpointError):
        load_state_dict(path)
    path.write_bytes(pickle.dumps(forged))
    with pytest.raises(CheckpointError):
        read_plain_pickle(path)


def test_the_list_of_allowed_globals_is_restored_after_loading(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"network_weights": {"weight": torch.zeros(1)}, "ema": np.float64(0.9)}, path)
    before = set(torch.serialization.get_safe_globals())
    load_state_dict(path)
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_the_sidecar_of_nnunet_v1_is_read_by_the_restricted_unpickler(protocol, tmp_path):
    plans = {
        "base_num_features": 32,
        "plans_per_stage": {0: {"patch_size": np.array([320, 256]), "current_spacing": np.array([1.25, 1.25])}},
        "dataset_properties": {"intensityproperties": OrderedDict({0: {"mean": np.float64(99.4)}})},
    }
    path = tmp_path / "model_final_checkpoint.model.pkl"
    path.write_bytes(pickle.dumps({"init": ("plans.pkl", 0), "name": "nnUNetTrainerV2", "plans": plans}, protocol))
    content = read_plain_pickle(path)
    assert content["name"] == "nnUNetTrainerV2"
    stage = content["plans"]["plans_per_stage"][0]
    assert stage["patch_size"].tolist() == [320, 256] and stage["current_spacing"].dtype == np.float64


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_a_malicious_sidecar_is_rejected_by_name_and_not_run(protocol, tmp_path):
    witness, path = tmp_path / "was_run", tmp_path / "plans.pkl"
    path.write_bytes(pickle.dumps({"plans": Hostile(witness)}, protocol))
    with pytest.raises(CheckpointError, match=r"plans\.pkl is rejected.* (posix|nt)\.system"):
        read_plain_pickle(path)
    assert not witness.exists()
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_plain_pickle(path)


def test_the_facts_of_a_checkpoint_are_read_without_torch(tmp_path):
    content = {
        "network_weights": nn.Conv2d(1, 2, 3).state_dict(),
        "init_args": {"configuration": "2d", "device": torch.device("cpu")},
        "inference_allowed_mirroring_axes": (0, 1),
        "_best_ema": np.float64(0.5),
    }
    torch.save(content, tmp_path / "checkpoint_final.pth")
    program = (
        "import sys; from helpers.networks.safe_pickle import read_torch_facts;"
        " facts = read_torch_facts(sys.argv[1]);"
        "print(facts['init_args']['configuration'], facts['inference_allowed_mirroring_axes'], facts['_best_ema'],"
        " sorted(facts['network_weights']), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "checkpoint_final.pth")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    assert done.stdout.strip() == "2d (0, 1) 0.5 ['bias', 'weight'] False", done.stderr
