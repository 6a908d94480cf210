"""The tiny recipe of the stages, with two finished runs of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_STAGES = Path(__file__).resolve().parents[1] / "stages" / "conftest.py"
_spec = importlib.util.spec_from_file_location("stages_conftest", _STAGES)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
tiny, walk = _module.tiny, _module.walk


@pytest.fixture(scope="module")
def outputs(tiny, walk, tmp_path_factory):
    """Two runs of six cases: with the trained weights, and with ones that find about half."""
    from safetensors.torch import save_file

    save_file(tiny.module.trained_state(threshold=1.0), tiny.folder / "half.safetensors")
    folder = tmp_path_factory.mktemp("outputs")
    seeds = [1, 2, 3, 4, 5, 6]
    walk(folder, demo_seeds=seeds)
    walk(folder, demo_seeds=seeds, checkpoint=str(tiny.folder / "half.safetensors"), minimum_scores={})
    return folder
