"""Profiles and targets are found by name; an invalid file and an unknown name are reported."""

from __future__ import annotations

import pytest

from helpers.errors import ParameterError
from helpers.params import load_profile, load_target, target_names

pytestmark = pytest.mark.usefixtures("params_folder")


class TestNames:
    def test_an_unknown_profile_names_the_nearest(self):
        with pytest.raises(ParameterError, match=r"unknown profile 'dmeo' of lamp\. Did you mean 'demo'\?"):
            load_profile("lamp", "dmeo")

    def test_an_unknown_target_names_the_nearest(self):
        with pytest.raises(ParameterError, match=r"unknown target 'onnxruntim'\. Did you mean 'onnxruntime'\?"):
            load_target("onnxruntim")

    @pytest.mark.parametrize("name", ["../lamp/demo", "/etc/passwd", "../../secret"])
    def test_a_name_is_not_a_path(self, name):
        with pytest.raises(ParameterError, match="unknown target"):
            load_target(name)
        with pytest.raises(ParameterError, match="unknown profile"):
            load_profile("lamp", name)

    def test_a_profile_that_names_another_is_refused(self, params_folder):
        (params_folder / "lamp" / "copy.yaml").write_text("profile: demo\n", encoding="utf-8")
        with pytest.raises(ParameterError, match=r"copy\.yaml names another profile"):
            load_profile("lamp", "copy")

    def test_an_invalid_target_file_is_named(self, params_folder):
        (params_folder / "targets" / "odd.yaml").write_text("title: odd\nruntime: abacus\n", encoding="utf-8")
        with pytest.raises(ParameterError, match=r"Correct runtime in params/targets/odd\.yaml"):
            load_target("odd")

    def test_every_shipped_target_loads_and_its_defaults_are_within_its_limits(self):
        for name in target_names():
            target = load_target(name)
            assert target.defaults.get("precision", "f32") in target.precisions, name
            assert target.opset_minimum <= 11 <= target.opset_maximum, name
