"""Precedence, limits and refusals of a run's parameters."""

from __future__ import annotations

import shutil
from typing import ClassVar

import pytest
from pydantic import Field

from helpers.errors import ParameterError
from helpers.params import RunParams, load_profile, load_target, resolve_params, target_names
from helpers.params import resolve as resolving
from helpers.params import targets as targeting
from helpers.params.paths import PARAMS_FOLDER


class LampParams(RunParams):
    step: float = Field(0.5, gt=0, le=1)
    window: list[int] = Field(default_factory=lambda: [8, 8, 8], min_length=3, max_length=3)
    DOC: ClassVar[str] = "not a field"


TARGET = """
title: A desk lamp
runtime: onnxruntime
opset_minimum: 10
opset_maximum: 13
precisions: [f32, f16]
batches: [1, 4, 8]
defaults: {precision: f16, batch_size: 8, opset: 12}
"""


@pytest.fixture(autouse=True)
def params_folder(tmp_path, monkeypatch):
    folder = tmp_path / "params"
    (folder / "lamp").mkdir(parents=True)
    shutil.copytree(PARAMS_FOLDER / "targets", folder / "targets")
    (folder / "targets" / "desk.yaml").write_text(TARGET)
    (folder / "lamp" / "demo.yaml").write_text("target: desk\nbatch_size: 4\n")
    (folder / "lamp" / "plain.yaml").write_text("profile: plain\n")
    for module in (resolving, targeting):
        monkeypatch.setattr(module, "PARAMS_FOLDER", folder)
    return folder


def _resolve(defaults=None, **given):
    return resolve_params(LampParams, "lamp", defaults or {}, given)


def _refusal(defaults=None, **given) -> str:
    with pytest.raises(ParameterError) as caught:
        _resolve(defaults, **given)
    assert caught.value.exit_code == 2
    return caught.value.line()


class TestPrecedence:
    def test_the_target_fills_what_nobody_says(self):
        assert (_resolve().precision, _resolve().opset) == ("f16", 12)

    def test_recipe_defaults_beat_the_target(self):
        assert _resolve({"opset": 11, "batch_size": 1}).opset == 11

    def test_the_profile_beats_recipe_defaults(self):
        assert _resolve({"batch_size": 1}).batch_size == 4

    def test_what_is_given_beats_the_profile(self):
        assert _resolve({"batch_size": 8}, batch_size=1).batch_size == 1

    def test_none_means_the_default(self):
        assert _resolve(batch_size=None, target=None, profile=None) == _resolve()

    def test_a_given_target_brings_its_own_defaults(self):
        assert _resolve(profile="plain", target="cpu").precision == "f32"
        assert _resolve(profile="plain", target="desk").batch_size == 8

    def test_a_recipe_may_choose_the_target(self):
        assert _resolve({"target": "desk"}, profile="plain").target == "desk"

    def test_falsy_values_are_values(self):
        assert _resolve(cache=False, minimum_scores={}).cache is False
        assert _resolve(minimum_scores={}).minimum_scores == {}


class TestRefusals:
    def test_an_unknown_parameter_names_the_nearest(self):
        assert "unknown parameter 'bacth_size'" in _refusal(bacth_size=2)
        assert "Did you mean 'batch_size'?" in _refusal(bacth_size=2)

    def test_an_unknown_parameter_of_a_profile_names_the_profile(self, params_folder):
        (params_folder / "lamp" / "odd.yaml").write_text("stepp: 0.25\n")
        line = _refusal(profile="odd")
        assert "'stepp' in params/lamp/odd.yaml" in line and "Did you mean 'step'?" in line

    def test_a_class_variable_is_no_parameter(self):
        assert "unknown parameter 'DOC'" in _refusal(DOC="x")
        assert "unknown parameter 'NOT_HASHED'" in _refusal(NOT_HASHED=["x"])

    def test_another_recipe_is_refused_and_not_ignored(self):
        assert "recipe" in _refusal(recipe="torch")
        assert _resolve(recipe="lamp").recipe == "lamp"

    @pytest.mark.parametrize(
        ("given", "telling"),
        [
            ({"batch_size": "four"}, "received 'four' (str)"),
            ({"batch_size": 1.5}, "received 1.5 (float)"),
            ({"batch_size": True}, "received True (bool)"),
            ({"batch_size": 0}, "greater than or equal to 1"),
            ({"precision": "fp32"}, "'f32'"),
            ({"checkpoint": 3}, "received 3 (int)"),
            ({"window": [8, 8]}, "at least 3"),
            ({"window": (8, 8, 8)}, "window"),
            ({"step": 0}, "greater than 0"),
            ({"dynamic_batch": "yes please"}, "boolean"),
            ({"minimum_scores": {"WT": "high"}}, "minimum_scores.WT"),
        ],
    )
    def test_a_wrong_value_tells_what_came_and_what_was_expected(self, given, telling):
        line = _refusal(**given)
        assert telling in line and "\n" not in line
        assert next(iter(given)) in line

    def test_the_remedy_names_the_file_or_that_the_value_was_given(self, params_folder):
        assert _refusal(batch_size="four").endswith("Correct the value you gave for batch_size.")
        (params_folder / "lamp" / "odd.yaml").write_text("batch_size: four\n")
        assert _refusal(profile="odd").endswith("Correct batch_size in params/lamp/odd.yaml.")
        assert _refusal(profile="odd", batch_size="4x").endswith("Correct the value you gave for batch_size.")
        (params_folder / "targets" / "desk.yaml").write_text(TARGET.replace("batch_size: 8", "batch_size: x"))
        assert _refusal(profile="plain", target="desk").endswith("Correct batch_size in params/targets/desk.yaml.")

    def test_an_unknown_part_of_a_given_mapping_is_in_no_file(self):
        assert _refusal(atc={"keep_f23": []}).startswith("unknown parameter 'atc.keep_f23'. Did you mean 'keep_f32'")

    def test_several_findings_are_counted(self):
        assert "(1 more like it.)" in _refusal(batch_size="x", opset="y")

    @pytest.mark.parametrize("text", ["1e-3", "1e3", "2E4", "1.5e3", "1.e5", "+1e-3"])
    def test_the_remedy_for_a_number_that_yaml_reads_as_text_works(self, text):
        import yaml

        assert yaml.safe_load(text) == text
        line = _refusal(simplify_timeout_s=text)
        assert f"YAML reads {text} as text" in line
        better = yaml.safe_load(line.rpartition("write ")[2].rstrip("."))
        assert isinstance(better, float) and better == float(text)


class TestLimits:
    @pytest.mark.parametrize(
        ("given", "telling"),
        [
            ({"precision": "bf16"}, "target desk does not run this precision: received bf16, expected f32 or f16"),
            ({"opset": 14}, "target desk does not read this opset: received 14, expected 10 to 13"),
            ({"opset": 9}, "expected 10 to 13"),
            ({"batch_size": 2}, "target desk does not run this batch size: received 2, expected one of [1, 4, 8]"),
        ],
    )
    def test_a_target_is_not_overridden(self, given, telling):
        assert telling in _refusal(**given)

    @pytest.mark.parametrize("opset", [10, 13])
    def test_both_ends_of_a_range_are_inside(self, opset):
        assert _resolve(opset=opset).opset == opset

    @pytest.mark.parametrize("name", ["opset_maximum", "precisions", "batches"])
    def test_a_limit_is_no_parameter(self, name):
        assert f"unknown parameter '{name}'" in _refusal(**{name: 99})


class TestNames:
    def test_an_unknown_profile_names_the_nearest(self):
        with pytest.raises(ParameterError, match=r"unknown profile of lamp 'dmeo'\. Did you mean 'demo'\?"):
            load_profile("lamp", "dmeo")

    def test_an_unknown_target_names_the_nearest(self):
        with pytest.raises(ParameterError, match=r"unknown target 'onnxruntim'\. Did you mean 'onnxruntime'\?"):
            load_target("onnxruntim")

    @pytest.mark.parametrize("name", ["../lamp/demo", "/etc/passwd", "../../secret"])
    def test_a_name_is_no_path(self, name):
        with pytest.raises(ParameterError, match="unknown target"):
            load_target(name)
        with pytest.raises(ParameterError, match="unknown profile"):
            load_profile("lamp", name)

    def test_a_profile_that_names_another_is_refused(self, params_folder):
        (params_folder / "lamp" / "copy.yaml").write_text("profile: demo\n")
        with pytest.raises(ParameterError, match=r"copy\.yaml names another profile"):
            load_profile("lamp", "copy")

    def test_a_wrong_target_file_is_named(self, params_folder):
        (params_folder / "targets" / "odd.yaml").write_text("title: odd\nruntime: abacus\n")
        with pytest.raises(ParameterError, match=r"Correct runtime in params/targets/odd\.yaml"):
            load_target("odd")

    def test_every_shipped_target_loads_and_its_defaults_are_within_its_limits(self):
        for name in target_names():
            target = load_target(name)
            assert target.defaults.get("precision", "f32") in target.precisions, name
            assert target.opset_minimum <= 11 <= target.opset_maximum, name


class TestHash:
    def test_it_is_stable(self):
        # A literal from nowhere but SHA-256 of the sorted JSON: it must not drift between processes or releases.
        import hashlib
        import json

        params = _resolve()
        content = {k: v for k, v in params.model_dump(mode="json").items() if k not in RunParams.NOT_HASHED}
        text = json.dumps(content, sort_keys=True)
        assert params.short_hash() == hashlib.sha256(text.encode()).hexdigest()[:8]

    @pytest.mark.parametrize("given", [{"outputs": "/somewhere"}, {"cache": False}, {"interactive": True}])
    def test_where_and_who_looks_do_not_change_it(self, given):
        assert _resolve(**given).short_hash() == _resolve().short_hash()

    @pytest.mark.parametrize(
        "given",
        [{"batch_size": 1}, {"checkpoint": "x.pth"}, {"cases": ["a"]}, {"step": 0.25}, {"minimum_scores": {}}],
    )
    def test_what_decides_results_does(self, given):
        assert _resolve(**given).short_hash() != _resolve().short_hash()

    def test_a_default_written_out_is_the_same_run(self):
        assert _resolve(batch_size=4, step=0.5).short_hash() == _resolve().short_hash()

    def test_a_whole_number_is_the_same_as_its_float(self):
        assert _resolve(step=1).short_hash() == _resolve(step=1.0).short_hash()


class TestScoresToReach:
    def test_the_recipes_own_hold_on_demo_data_only(self):
        defaults = {"demo_minimum_scores": {"WT": 0.8}}
        assert _resolve(defaults).scores_to_reach() == {"WT": 0.8}
        assert _resolve(defaults, data_root="/data").scores_to_reach() == {}

    def test_given_ones_hold_everywhere_and_an_empty_one_judges_nothing(self):
        defaults = {"demo_minimum_scores": {"WT": 0.8}}
        assert _resolve(defaults, data_root="/data", minimum_scores={"ET": 0.5}).scores_to_reach() == {"ET": 0.5}
        assert _resolve(defaults, minimum_scores={}).scores_to_reach() == {}
