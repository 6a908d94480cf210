"""An invalid key or value of MagicMind's builder configuration is refused with the nearest name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from helpers import recipes
from helpers.errors import ParameterError
from helpers.params.builder_config import BuilderConfig

DOUBLE = Path(__file__).parents[1] / "doubles" / "magicmind" / "python" / "magicmind" / "python" / "_core.py"


def _refusal(config: object, **given: object) -> str:
    with pytest.raises(ParameterError) as caught:
        recipes.load("nnunet_heart").prepare_params(target="mlu370", builder_config=config, **given)
    assert caught.value.exit_code == 2
    return caught.value.line()


@pytest.mark.parametrize(
    ("config", "wrong", "near"),
    [
        ({"precison_config": {}}, "builder_config.precison_config", "precision_config"),
        ({"opt_config": {"type64to32_convertion": True}}, "type64to32_convertion", "type64to32_conversion"),
        ({"convert_input_layout": {"0": {"src": "NCHW", "dest": "NHWC"}}}, "layout.0.dest", "dst"),
        ({"dim_range": {"0": {"mni": [1], "max": [2]}}}, "dim_range.0.mni", "min"),
        ({"precision_config": {"activation_quant_algo": "symetric"}}, "symetric", "symmetric"),
        ({"convert_output_layout": {"0": {"src": "NCHW", "dst": "NHCW"}}}, "NHCW", "NHWC"),
        ({"archs": [{"mtp_371": [2]}]}, "mtp_371", "mtp_372"),
        ({"computation_preference": "high-precision"}, "high-precision", "high_precision"),
        ('{"graph_shape_mutabel": true}', "graph_shape_mutabel", "graph_shape_mutable"),
    ],
)
def test_a_mistyped_name_gets_the_nearest_one(config, wrong, near):
    line = _refusal(config)
    assert wrong in line and f"Did you mean '{near}'?" in line


@pytest.mark.parametrize(
    ("config", "parameter"),
    [
        ({"graph_shape_mutable": True}, "`shape_mutable`"),
        ({"precision_config": {"precision_mode": "force_float16"}}, "`precision`"),
        ({"insert_bn_before_firstnode": {"0": {}}}, "recipe normalises"),
    ],
)
def test_a_key_that_a_parameter_controls_is_refused(config, parameter):
    assert parameter in _refusal(config)


@pytest.mark.parametrize("config", ["archs: [", "just text", {"archs": {"mtp_372": [2]}}, {"opt_config": 1}])
def test_an_invalid_configuration_is_refused(config):
    assert "builder_config" in _refusal(config)


def test_text_is_read_as_yaml_and_a_mistyped_value_gets_the_nearest_one():
    params = recipes.load("nnunet_heart").prepare_params(
        target="mlu370", builder_config='{"computation_preference": "fast"}'
    )
    assert params.builder_config.given() == {"computation_preference": "fast"}
    assert "Did you mean 'qint8_mixed_float16'?" in _refusal({}, precision="qint8_mixed_f16")


def test_other_targets_take_no_builder_config():
    with pytest.raises(ParameterError, match="applies to MagicMind only"):
        recipes.load("nnunet_heart").prepare_params(target="cpu", builder_config={"computation_preference": "fast"})


@pytest.fixture(scope="module")
def double():
    spec = importlib.util.spec_from_file_location("magicmind_double_core", DOUBLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_keys_are_those_of_the_double(double):
    assert set(BuilderConfig.model_fields) == set(double._KEYS)


@pytest.mark.parametrize(
    "config",
    [
        {"archs": [{"mtp_372": [2, 6, 8]}], "opt_config": {"type64to32_conversion": True, "conv_scale_fold": False}},
        {"precision_config": {"activation_quant_algo": "asymmetric", "weight_quant_granularity": "per_tensor"}},
        {"convert_input_layout": {"0": {"src": "NCDHW", "dst": "NDHWC"}}, "computation_preference": "auto"},
        {"dim_range": {"0": {"min": [1, 2], "max": [3, 4]}}, "custom_ranges": {"": {"max": [1.0], "min": [-1.0]}}},
        {"debug_config": {"print_ir": True}, "cross_compile_toolchain_path": "/opt/toolchain"},
    ],
)
def test_the_double_accepts_what_is_accepted(config, double):
    import json

    given = BuilderConfig.model_validate(config).given()
    assert given == config
    assert double.BuilderConfig().parse_from_string(json.dumps(given)).ok()
