"""Precedence, limits and errors of the parameters of a run."""

from __future__ import annotations

import pytest

from tests.params.lamp import TARGET, refusal_of, resolve

pytestmark = pytest.mark.usefixtures("params_folder")


class TestPrecedence:
    def test_the_target_provides_defaults(self):
        assert (resolve().precision, resolve().opset) == ("f16", 12)

    def test_recipe_defaults_override_the_target(self):
        assert resolve({"opset": 11, "batch_size": 1}).opset == 11

    def test_the_profile_overrides_recipe_defaults(self):
        assert resolve({"batch_size": 1}).batch_size == 4

    def test_given_values_override_the_profile(self):
        assert resolve({"batch_size": 8}, batch_size=1).batch_size == 1

    def test_none_selects_the_default(self):
        assert resolve(batch_size=None, target=None, profile=None) == resolve()

    def test_a_given_target_brings_its_own_defaults(self):
        assert resolve(profile="plain", target="cpu").precision == "f32"
        assert resolve(profile="plain", target="desk").batch_size == 8

    def test_a_recipe_may_choose_the_target(self):
        assert resolve({"target": "desk"}, profile="plain").target == "desk"

    def test_falsy_values_are_values(self):
        assert resolve(cache=False, minimum_scores={}).cache is False
        assert resolve(minimum_scores={}).minimum_scores == {}


class TestRefusals:
    def test_an_unknown_parameter_names_the_nearest(self):
        assert "unknown parameter 'bacth_size'" in refusal_of(bacth_size=2)
        assert "Did you mean 'batch_size'?" in refusal_of(bacth_size=2)

    def test_an_unknown_parameter_of_a_profile_names_the_profile(self, params_folder):
        (params_folder / "lamp" / "odd.yaml").write_text("stepp: 0.25\n", encoding="utf-8")
        line = refusal_of(profile="odd")
        assert "'stepp' in params/lamp/odd.yaml" in line and "Did you mean 'step'?" in line

    def test_a_class_variable_is_not_a_parameter(self):
        assert "unknown parameter 'DOC'" in refusal_of(DOC="x")
        assert "unknown parameter 'NOT_HASHED'" in refusal_of(NOT_HASHED=["x"])

    def test_another_recipe_is_refused(self):
        assert "recipe" in refusal_of(recipe="torch")
        assert resolve(recipe="lamp").recipe == "lamp"

    @pytest.mark.parametrize(
        ("given", "telling"),
        [
            ({"batch_size": "four"}, "received 'four' (str)"),
            ({"batch_size": 1.5}, "received 1.5 (float)"),
            ({"batch_size": True}, "received True (bool)"),
            ({"batch_size": 0}, "at least 1"),
            ({"precision": "fp32"}, "'f32'"),
            ({"checkpoint": 3}, "received 3 (int)"),
            ({"window": [8, 8]}, "at least 3"),
            ({"window": (8, 8, 8)}, "window"),
            ({"step": 0}, "greater than 0"),
            ({"dynamic_batch": "yes please"}, "boolean"),
            ({"minimum_scores": {"WT": "high"}}, "minimum_scores.WT"),
        ],
    )
    def test_an_invalid_value_is_reported_with_what_was_expected(self, given, telling):
        line = refusal_of(**given)
        assert telling in line and "\n" not in line
        assert next(iter(given)) in line

    def test_the_remedy_names_the_file_or_the_given_value(self, params_folder):
        assert refusal_of(batch_size="four").endswith("Correct the value given for batch_size.")
        (params_folder / "lamp" / "odd.yaml").write_text("batch_size: four\n", encoding="utf-8")
        assert refusal_of(profile="odd").endswith("Correct batch_size in params/lamp/odd.yaml.")
        assert refusal_of(profile="odd", batch_size="4x").endswith("Correct the value given for batch_size.")
        (params_folder / "targets" / "desk.yaml").write_text(
            TARGET.replace("batch_size: 8", "batch_size: x"), encoding="utf-8"
        )
        assert refusal_of(profile="plain", target="desk").endswith("Correct batch_size in params/targets/desk.yaml.")

    def test_an_unknown_key_of_a_given_mapping_names_no_file(self):
        assert refusal_of(atc={"keep_f23": []}).startswith(
            "unknown parameter 'atc.keep_f23'. Did you mean 'keep_f32'"
        )

    def test_further_errors_are_counted(self):
        assert "(1 more error.)" in refusal_of(batch_size="x", opset="y")

    @pytest.mark.parametrize("text", ["1e-3", "1e3", "2E4", "1.5e3", "1.e5", "+1e-3"])
    def test_the_remedy_for_a_number_that_yaml_reads_as_text_works(self, text):
        import yaml

        assert yaml.safe_load(text) == text
        line = refusal_of(simplify_timeout_s=text)
        assert f"YAML reads {text} as text" in line
        better = yaml.safe_load(line.rpartition("write ")[2].rstrip("."))
        assert isinstance(better, float) and better == float(text)


class TestLimits:
    @pytest.mark.parametrize(
        ("given", "telling"),
        [
            (
                {"precision": "bf16"},
                "target desk does not support this precision: received bf16, expected f32 or f16",
            ),
            ({"opset": 14}, "target desk does not support this opset: received 14, expected 10 to 13"),
            ({"opset": 9}, "expected 10 to 13"),
            (
                {"batch_size": 2},
                "target desk does not support this batch size: received 2, expected one of [1, 4, 8]",
            ),
        ],
    )
    def test_a_target_is_not_overridden(self, given, telling):
        assert telling in refusal_of(**given)

    @pytest.mark.parametrize("opset", [10, 13])
    def test_both_ends_of_a_range_are_inside(self, opset):
        assert resolve(opset=opset).opset == opset

    @pytest.mark.parametrize("name", ["opset_maximum", "precisions", "batches"])
    def test_a_limit_is_not_a_parameter(self, name):
        assert f"unknown parameter '{name}'" in refusal_of(**{name: 99})


class TestScoresToReach:
    def test_those_of_the_recipe_apply_to_demo_data_only(self):
        defaults = {"demo_minimum_scores": {"WT": 0.8}}
        assert resolve(defaults).scores_to_reach() == {"WT": 0.8}
        assert resolve(defaults, data_root="/data").scores_to_reach() == {}

    def test_given_ones_apply_everywhere_and_empty_ones_judge_nothing(self):
        defaults = {"demo_minimum_scores": {"WT": 0.8}}
        assert resolve(defaults, data_root="/data", minimum_scores={"ET": 0.5}).scores_to_reach() == {"ET": 0.5}
        assert resolve(defaults, minimum_scores={}).scores_to_reach() == {}
