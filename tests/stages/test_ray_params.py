"""The engine is refused before any work where it cannot be used, and changes no result's key."""

from __future__ import annotations

import importlib.util
import pickle

import pytest

from helpers import recipes
from helpers.devices.base import DeviceFault
from helpers.errors import ParameterError
from helpers.params.targets import load_target
from helpers.stages.on_actor import _portable, resource_of

RECIPE = recipes.load("unet_carvana")


def test_without_ray_one_line_says_how_to_install_it(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest))
    with pytest.raises(ParameterError, match="needs the package ray") as caught:
        RECIPE.prepare_params(engine="ray")
    assert caught.value.exit_code == 2 and "pip install" in caught.value.line()


@pytest.mark.parametrize("given", [{"devices": "0,1"}, {"device_tool": "msame"}])
def test_what_ray_decides_itself_is_refused(given):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with pytest.raises(ParameterError, match=r"Ray assigns devices|run by hand"):
        RECIPE.prepare_params(engine="ray", target="ascend310", **given)


def test_the_engine_is_not_part_of_a_run_s_name():
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    plain = RECIPE.prepare_params()
    assert RECIPE.prepare_params(engine="ray", ray_actors=3, ray_address="auto").short_hash() == plain.short_hash()


@pytest.mark.parametrize(
    ("target", "resource"),
    [("cpu", "CPU"), ("cuda", "GPU"), ("ascend910b", "NPU"), ("mlu370", "MLU"), ("torch", "CPU")],
)
def test_a_target_needs_one_kind_of_device(target, resource):
    assert resource_of(load_target(target)) == resource


def test_an_error_arrives_as_it_was_with_its_traceback():
    fault = pickle.loads(pickle.dumps(_portable(DeviceFault("the card is gone", "lost", received=RECIPE))))
    assert (type(fault), fault.kind, fault.problem) == (DeviceFault, "lost", "the card is gone")
    other = pickle.loads(pickle.dumps(_portable(ZeroDivisionError("by zero"))))
    assert str(other) == "ZeroDivisionError: by zero" and "ZeroDivisionError" in other.__notes__[0]
