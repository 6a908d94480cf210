"""An edit of a source file redoes the stages that depend on it, and no others."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.params.paths import SOURCE_ROOT

pytestmark = pytest.mark.slow

_PROGRAM = """
import json, sys
import helpers
from helpers import stages

assert helpers.__file__.startswith(sys.argv[1])
recipe, run = stages.start_run(sys.argv[2], {"outputs": sys.argv[1] + "/outputs", **json.loads(sys.argv[3])})
for stage in ("prepare_data", "export_onnx", "simplify_onnx", "apply_surgery", "inspect_graph", "lint_graph",
              "compile_model", "check_model_parity", "infer_cases", "score_cases"):
    getattr(stages, stage)(recipe, run)
run.finish()
print(json.dumps({name.partition("/")[0]: result.status for name, result in run.results.items()}))
"""
_GIVEN = {
    "unet3d_brats": {"demo_seeds": [1], "window": [32, 32, 32], "minimum_scores": {"WT": 0.0}},
    "unet_carvana": {"demo_seeds": [1]},
}


class Copy:
    """A copy of the project's code, run in processes of their own."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("helpers", "params"):
            shutil.copytree(SOURCE_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "program.py").write_text(_PROGRAM, encoding="utf-8")

    def edit(self, name: str, pattern: str, replacement: str) -> None:
        path = self.folder / "helpers" / name
        text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"))
        assert count
        path.write_text(text, encoding="utf-8")

    def run(self, recipe: str) -> dict[str, str]:
        """The status of every stage."""
        command = [sys.executable, "program.py", str(self.folder), recipe, json.dumps(_GIVEN[recipe])]
        environment = {name: value for name, value in os.environ.items() if name != "COOKBOOK_HOME"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy in which a volume recipe and a photo recipe were run once."""
    made = Copy(tmp_path_factory.mktemp("copy"))
    for recipe in _GIVEN:
        assert set(made.run(recipe).values()) == {"made"}
    return made


def test_words_redo_nothing(copy):
    for name in ("data/brats.py", "data/volume.py", "inference/job.py", "recipes/unet3d_brats.py", "stages/infer.py"):
        copy.edit(name, r'"""(?=\w)', '"""Edited. ')
        copy.edit(name, "from __future__", "# Edited.\nfrom __future__")
    for recipe in _GIVEN:
        assert set(copy.run(recipe).values()) == {"reused"}


def test_another_preparation_redoes_what_depends_on_it(copy):
    copy.edit("data/brats.py", r"99\.8\)", "99.7)")
    redone = {name for name, status in copy.run("unet3d_brats").items() if status == "made"}
    assert {"parity", "infer"} <= redone <= {"parity", "infer", "score"}  # scores, if a mask changed
    assert set(copy.run("unet_carvana").values()) == {"reused"}
