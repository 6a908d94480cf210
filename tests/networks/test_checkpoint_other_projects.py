"""Checkpoints in the forms that other training loops write: what is loaded, what is left out, and what is refused."""

from __future__ import annotations

import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from helpers.errors import CheckpointError
from helpers.networks.checkpoint import load_checkpoint, read_checkpoint


def small_network(seed: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1)).eval()


def saved(content: object, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path)
    return path


def loads_as(path: Path, state: dict, **arguments) -> tuple[str, ...]:
    network = small_network(seed=2)
    report = load_checkpoint(network, path, **arguments)
    loaded = network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    return report.remarks


def prefixed(state: dict, prefix: str) -> OrderedDict:
    return OrderedDict((prefix + key, value) for key, value in state.items())


@pytest.mark.parametrize("wrapper", ["model", "net", "network", "weights"])
def test_usual_wrappers_are_opened(wrapper, tmp_path):
    state = small_network().state_dict()
    path = saved({wrapper: state, "epoch": 3, "args": {"lr": 0.1}}, tmp_path)
    assert loads_as(path, state) == ()
    assert read_checkpoint(path).wrapper == wrapper


def test_lightning_s_prefix_is_stripped_and_its_loss_is_named(tmp_path):
    state = small_network().state_dict()
    module = prefixed(state, "model.") | {"criterion.pos_weight": torch.ones(1)}
    content = {
        "epoch": 4,
        "global_step": 20,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": module,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [],
        "hyper_parameters": {"lr": 0.1, "folder": Path("x")},
    }
    remarks = loads_as(saved(content, tmp_path), state)
    assert remarks == ("not used, because outside model: criterion.pos_weight",)


def test_an_averaged_model_loads_without_its_counter(tmp_path):
    network = small_network()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    average.update_parameters(network)
    remarks = loads_as(saved(average.state_dict(), tmp_path), network.state_dict())
    assert remarks == ("not used, because outside module: n_averaged",)


@pytest.mark.parametrize("name", ["state_dict_ema", "ema_state_dict", "model_ema", "current_model_state"])
def test_a_second_set_of_weights_is_named_and_can_be_chosen(name, tmp_path, caplog):
    main, other = small_network(1).state_dict(), small_network(3).state_dict()
    path = saved({"state_dict": main, name: prefixed(other, "module."), "epoch": 1}, tmp_path)
    (remark,) = loads_as(path, main)
    assert name in remark and "checkpoint_key" in remark
    assert name in caplog.text
    assert any("state_dict has the same keys" in remark for remark in loads_as(path, other, key=name))


def test_averages_within_the_state_dict_are_named_and_can_be_chosen(tmp_path):
    main, other = small_network(1).state_dict(), small_network(3).state_dict()
    path = saved({"state_dict": prefixed(main, "model.") | prefixed(other, "ema_model.")}, tmp_path)
    (remark,) = loads_as(path, main)
    assert remark.startswith("not used, because outside model: ema_model.0.weight")
    assert loads_as(path, other, key="ema_model") == ("only the keys below ema_model are used",)


def test_averages_without_keys_are_named(tmp_path):
    state = small_network().state_dict()
    average = {"decay": 0.9, "num_updates": 3, "shadow_params": list(state.values()), "collected_params": None}
    (remark,) = loads_as(saved({"model": state, "ema": average}, tmp_path), state)
    assert "moving averages in ema" in remark


def test_a_wrong_key_is_refused(tmp_path):
    path = saved({"state_dict": small_network().state_dict()}, tmp_path)
    with pytest.raises(CheckpointError, match=r"no weights under teacher.*checkpoint_key"):
        load_checkpoint(small_network(), path, key="teacher")


def test_a_child_called_model_keeps_its_name(tmp_path):
    network = nn.ModuleDict({"model": small_network(1)})
    path = saved(network.state_dict(), tmp_path)
    fresh = nn.ModuleDict({"model": small_network(2)})
    assert load_checkpoint(fresh, path).remarks == ()
    assert torch.equal(fresh.state_dict()["model.0.weight"], network.state_dict()["model.0.weight"])


def test_counters_of_batch_normalisation_may_be_missing(tmp_path):
    state = small_network().state_dict()
    del state["1.num_batches_tracked"]
    assert loads_as(saved(state, tmp_path), state) == ("without batch counters, which inference does not use",)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_widths_are_converted_and_named(dtype, tmp_path):
    network = small_network().to(dtype)
    expected = {
        key: value.to(value.dtype if key.endswith("tracked") else torch.float32)
        for key, value in network.state_dict().items()
    }
    (remark,) = loads_as(saved(network.state_dict(), tmp_path), expected)
    assert remark == f"stored as {str(dtype).removeprefix('torch.')}, computed in float32"


@pytest.mark.parametrize(
    "convert",
    [
        lambda value: value.to(torch.complex64),
        lambda value: value > 0,
        lambda value: value.to(torch.int32),
        lambda value: value.to(torch.int8),
        lambda value: value.to(torch.float8_e4m3fn),
        lambda value: value.to_sparse(),
    ],
    ids=["complex64", "bool", "int32", "int8", "float8", "sparse"],
)
def test_types_that_weights_cannot_have_are_refused(convert, tmp_path):
    state = small_network().state_dict()
    state["2.weight"] = convert(state["2.weight"])
    network = small_network(seed=2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"cannot compute with: received 1 tensors: 2\.weight"):
        load_checkpoint(network, saved(state, tmp_path))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value, tmp_path):
    state = small_network().state_dict()
    state["0.bias"][1] = value
    with pytest.raises(CheckpointError, match=r"not finite: received NaN or infinity in 1 of \d+ tensors: 0\.bias"):
        load_checkpoint(small_network(), saved(state, tmp_path))


@pytest.fixture
def history_buffer(monkeypatch):
    """mmengine's class of loss curves, as mmengine 0.10 pickles it: with its methods in its state."""

    class HistoryBuffer:
        _statistics_methods: dict = {}  # noqa: RUF012 - as upstream

        def __init__(self, log_history, count_history):
            self.max_length = 1000000
            self._log_history, self._count_history = np.array(log_history), np.array(count_history)
            self._statistics_methods.setdefault("min", HistoryBuffer.min)

        def min(self):
            return self._log_history.min()

        def __getstate__(self):
            self.__dict__.update(statistics_methods=self._statistics_methods)
            return self.__dict__

    HistoryBuffer.__module__ = "mmengine.logging.history_buffer"
    HistoryBuffer.__qualname__ = "HistoryBuffer"
    HistoryBuffer.min.__qualname__ = "HistoryBuffer.min"
    HistoryBuffer.min.__module__ = HistoryBuffer.__module__
    for name in ("mmengine", "mmengine.logging", HistoryBuffer.__module__):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[HistoryBuffer.__module__].HistoryBuffer = HistoryBuffer
    return HistoryBuffer


def test_a_training_checkpoint_of_mmsegmentation_1_loads(tmp_path, history_buffer):
    state = small_network().state_dict()
    content = {
        "meta": {
            "epoch": 0,
            "iter": 20000,
            "mmengine_version": "0.10.7",
            "dataset_meta": {"classes": ("background", "rust"), "palette": [[0, 0, 0], [255, 0, 0]]},
        },
        "message_hub": {
            "log_scalars": OrderedDict({"train/loss": history_buffer([0.5, 0.25], [1, 1])}),
            "runtime_info": OrderedDict(iter=20000),
            "resumed_keys": OrderedDict({"train/loss": True}),
        },
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": []},
        "param_schedulers": [{"last_step": 20000}],
    }
    path = saved(content, tmp_path)
    sys.modules.pop(history_buffer.__module__)
    assert loads_as(path, state) == ()
    assert read_checkpoint(path).class_names == ("background", "rust")


def test_getattr_reaches_nothing_but_the_stand_in(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (OrderedDict, "fromkeys")

    path = saved({"state_dict": {"w": torch.ones(1)}, "trick": Reach()}, tmp_path)
    with pytest.raises(CheckpointError, match=r"needs builtins\.getattr"):
        read_checkpoint(path)


def normalised() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


@pytest.mark.parametrize(
    "key, change, message",
    [
        ("0.weight", lambda value: value.double() + 1e300, "not finite"),
        ("0.weight", lambda value: value.to("meta"), "cannot compute with"),
        ("1.running_var", lambda value: value - 2, "negative variances"),
    ],
    ids=["overflow", "meta", "negative variance"],
)
def test_weights_without_usable_values_in_float32_are_refused(key, change, message, tmp_path):
    state = normalised().state_dict()
    torch.save({**state, key: change(state[key])}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(normalised(), tmp_path / "net.pth")
