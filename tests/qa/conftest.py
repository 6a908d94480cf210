"""Two finished runs of the tiny recipe that the tests of the stages define."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from helpers import stages
from helpers.qa.finished import list_runs

_STAGES = Path(__file__).resolve().parents[1] / "stages" / "conftest.py"
_spec = importlib.util.spec_from_file_location("stages_conftest", _STAGES)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
tiny = _module.tiny
_STEPS = (
    stages.prepare_data,
    stages.export_onnx,
    stages.simplify_onnx,
    stages.apply_surgery,
    stages.compile_model,
    stages.check_model_parity,
    stages.infer_cases,
    stages.score_cases,
    stages.finish_run,
)


@pytest.fixture(scope="module")
def run_pipeline(tiny):
    """Runs the tiny recipe on six cases, as far as its masks and scores."""

    def go(outputs: Path, **given: object) -> None:
        recipe, run = stages.start_run("tiny", {"outputs": str(outputs), "demo_seeds": [1, 2, 3, 4, 5, 6], **given})
        for step in _STEPS:
            step(recipe, run)

    return go


@pytest.fixture(scope="module")
def outputs(tiny, run_pipeline, tmp_path_factory):
    """Two runs of six cases: with trained weights, and with weights that find about half of the foreground."""
    from safetensors.torch import save_file

    save_file(tiny.module.trained_state(threshold=1.0), tiny.folder / "half.safetensors")
    folder = tmp_path_factory.mktemp("outputs")
    run_pipeline(folder)
    run_pipeline(folder, checkpoint=str(tiny.folder / "half.safetensors"), minimum_scores={})
    return folder


@pytest.fixture(autouse=True)
def no_verdicts(request):
    """Every test starts without verdicts."""
    yield
    if "outputs" in request.fixturenames:
        shutil.rmtree(request.getfixturevalue("outputs") / ".qa", ignore_errors=True)


@pytest.fixture
def run(outputs):
    """The run with the trained weights."""
    return next(run for run in list_runs(outputs, "tiny") if run.params.checkpoint.endswith("trained.safetensors"))


@pytest.fixture
def other(outputs):
    """The run with the weights that find half."""
    return next(run for run in list_runs(outputs, "tiny") if run.params.checkpoint.endswith("half.safetensors"))
