"""The source's parameters give the source's builder configuration, and what does not fit is rejected."""

from __future__ import annotations

import pytest

from helpers.compile.magicmind_config import allowed_batches, assemble_builder_config, layout_of
from helpers.errors import ParameterError
from helpers.graph.spec import GraphSpec
from helpers.params.targets import load_target

HEART = GraphSpec("image", "class", (1, 320, 256), batch_size=4)
VOLUME = GraphSpec("image", "class", (1, 80, 192, 160), batch_size=1)


def _assemble(spec=HEART, given=None, *, precision="f32", shape_mutable=True, rank=None):
    target = load_target("mlu370").builder_config.given()
    rank = rank or len(spec.input_shape) + 1
    return assemble_builder_config(
        target, given or {}, spec, precision=precision, shape_mutable=shape_mutable, output_rank=rank
    )


def test_the_sources_parameters_give_the_sources_configuration():
    # Cambricon/magicmind_cloud, nnUNet_pytorch/gen_model: `run.sh 0 qint8_mixed_float16 true 4`.
    change = {"0": {"src": "NCHW", "dst": "NHWC"}}
    assert _assemble(precision="qint8_mixed_float16") == {
        "archs": [{"mtp_372": [2, 6, 8]}],
        "graph_shape_mutable": True,
        "dim_range": {"0": {"min": [1, 1, 320, 256], "max": [64, 1, 320, 256]}},
        "opt_config": {"type64to32_conversion": True, "conv_scale_fold": True},
        "convert_input_layout": change,
        "convert_output_layout": change,
        "precision_config": {
            "precision_mode": "qint8_mixed_float16",
            "activation_quant_algo": "symmetric",
            "weight_quant_granularity": "per_axis",
        },
    }


@pytest.mark.parametrize(("precision", "mode"), [("f32", "force_float32"), ("f16", "force_float16")])
def test_a_static_model_has_no_range(precision, mode):
    config = _assemble(precision=precision, shape_mutable=False)
    assert config["graph_shape_mutable"] is False and "dim_range" not in config
    assert config["precision_config"]["precision_mode"] == mode
    assert allowed_batches(config, HEART) == [4]


def test_a_volume_has_five_axes_and_a_smaller_range():
    config = _assemble(VOLUME)
    assert layout_of(config, "input") == layout_of(config, "output") == ("NCDHW", "NDHWC")
    assert allowed_batches(config, VOLUME) == [1, 2, 3, 4]


def test_a_class_map_without_a_channel_axis_keeps_its_layout():
    config = _assemble(rank=3)
    assert layout_of(config, "input") == ("NCHW", "NHWC")
    assert layout_of(config, "output") is None and "convert_output_layout" not in config


def test_the_users_keys_override_the_targets_one_by_one():
    given = {
        "opt_config": {"conv_scale_fold": False},
        "dim_range": {"0": {"min": [2, 1, 320, 256], "max": [8, 1, 320, 256]}},
        "convert_input_layout": {"0": {"src": "NCHW", "dst": "NCHW"}},
    }
    config = _assemble(given=given)
    assert config["opt_config"] == {"type64to32_conversion": True, "conv_scale_fold": False}
    assert allowed_batches(config, HEART) == [2, 3, 4, 5, 6, 7, 8]
    assert layout_of(config, "input") is None
    assert load_target("mlu370").builder_config.given()["opt_config"]["conv_scale_fold"] is True


@pytest.mark.parametrize(
    "box",
    [
        {"0": {"min": [1, 320, 256, 1], "max": [64, 320, 256, 1]}},  # the device's layout
        {"0": {"min": [1, 1, 320], "max": [64, 1, 320]}},
        {"0": {"min": [1, 1, 160, 256], "max": [64, 1, 320, 256]}},  # a dynamic window
        {"0": {"min": [8, 1, 320, 256], "max": [64, 1, 320, 256]}},  # batch 4 is outside
        {"1": {"min": [1, 1, 320, 256], "max": [64, 1, 320, 256]}},
    ],
)
def test_a_range_that_does_not_fit_is_rejected(box):
    with pytest.raises(ParameterError, match=r"dim_range .*\[maximum"):
        _assemble(given={"dim_range": box})


def test_a_range_in_a_static_model_is_rejected():
    box = {"0": {"min": [1, 1, 320, 256], "max": [64, 1, 320, 256]}}
    with pytest.raises(ParameterError, match="shape_mutable False"):
        _assemble(given={"dim_range": box}, shape_mutable=False)


def test_a_graph_with_a_fixed_batch_cannot_become_mutable():
    spec = GraphSpec("image", "class", (1, 320, 256), dynamic_batch=False, batch_size=4)
    with pytest.raises(ParameterError, match="shape_mutable: false"):
        _assemble(spec)
    assert allowed_batches(_assemble(spec, shape_mutable=False), spec) == [4]


@pytest.mark.parametrize("change", [{"src": "NCDHW", "dst": "NDHWC"}, {"src": "NCHW", "dst": "NTC"}])
@pytest.mark.parametrize("side", ["input", "output"])
def test_a_layout_with_other_axes_is_rejected(side, change):
    with pytest.raises(ParameterError, match=f"convert_{side}_layout"):
        _assemble(given={f"convert_{side}_layout": {"0": change}})
