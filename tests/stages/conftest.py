"""A tiny recipe with its own params folder and checkpoint, and a fixture that runs the stages."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers import recipes, stages
from helpers.params.paths import PARAMS_FOLDER

SOURCE = Path(__file__).with_name("tiny_recipe.py")


def _load_tiny():
    spec = importlib.util.spec_from_file_location("tiny_recipe", SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_recipe"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny recipe's module and a folder with its checkpoints, registered as `tiny`."""
    from safetensors.torch import save_file

    module = _load_tiny()
    folder = tmp_path_factory.mktemp("tiny")
    save_file(module.trained_state(), folder / "trained.safetensors")
    save_file(module.trained_state(threshold=0.8), folder / "higher.safetensors")
    save_file(module.untrained_state(), folder / "untrained.safetensors")
    params = folder / "params"
    shutil.copytree(PARAMS_FOLDER / "targets", params / "targets")
    (params / "tiny").mkdir()
    (params / "tiny" / "demo.yaml").write_text(
        f"checkpoint: {folder / 'trained.safetensors'}\ndemo_seeds: [1, 2, 3]\ndemo_minimum_scores: {{cube: 0.9}}\n",
        encoding="utf-8",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("helpers.params.targets.PARAMS_FOLDER", params)  # some tests add targets of their own
        patch.setattr(recipes, "_RECIPES", dict(recipes._RECIPES))
        recipes.register("tiny", "tiny_recipe:RECIPE", params_folder=params)
        patch.delenv("JPY_SESSION_NAME", raising=False)
        yield SimpleNamespace(module=module, folder=folder)
    sys.modules.pop("tiny_recipe")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """One outputs folder, so that tests share what was exported; runs of their own differ by their cases."""
    return tmp_path_factory.mktemp("outputs")


def _steps_of(recipe, run) -> dict:
    """What each stage's cell calls, in order."""
    return {
        "data": lambda: stages.prepare_data(recipe, run),
        "export": lambda: stages.export_onnx(recipe, run),
        "simplify": lambda: stages.simplify_onnx(recipe, run),
        "surgery": lambda: stages.apply_surgery(recipe, run),
        "inspect": lambda: stages.inspect_graph(recipe, run),
        "lint": lambda: stages.lint_graph(recipe, run),
        "compile": lambda: stages.compile_model(recipe, run),
        "vendor": lambda: stages.show_vendor_commands(recipe, run),
        "parity": lambda: stages.check_model_parity(recipe, run),
        "device_tool": lambda: stages.exchange_with_tool(recipe, run),
        "infer": lambda: stages.infer_cases(recipe, run),
        "score": lambda: stages.score_cases(recipe, run),
        "source": lambda: stages.score_as_source(recipe, run),
        "draw_results": lambda: stages.draw_results(recipe, run),
        "finish": lambda: stages.finish_run(recipe, run),
    }


@pytest.fixture(scope="module")
def run_pipeline(tiny):
    """Runs the stages: `run_pipeline(outputs, pictures=False, **given)` gives recipe, run and each stage's result.

    With `pictures`, those of every result are drawn, as a notebook does.
    """
    started = []

    def go(outputs, *, pictures: bool = False, until: str = "finish", **given):
        recipe, run = stages.start_run("tiny", {"outputs": str(outputs), **given})
        started.append(run)
        done = SimpleNamespace(recipe=recipe, run=run, made={}, pictures={})
        go.last = done
        for name, step in _steps_of(recipe, run).items():
            if pictures or name != "draw_results":
                done.made[name] = step()
            if pictures and name != "finish":
                done.pictures |= done.made[name].pictures
            if name == until:
                break
        return done

    yield go
    for run in started:
        run.record.end("passed")
    logger = logging.getLogger("cookbook")
    for handler in [h for h in logger.handlers if isinstance(h, logging.FileHandler)]:
        logger.removeHandler(handler)
        handler.close()
