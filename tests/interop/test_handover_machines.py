"""The hand-over across four machines: each has its own environment, and the previous machine is gone."""

from __future__ import annotations

import json
import re
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOUBLES = ROOT / "tests" / "doubles"
NUMPY = ("numpy",)
# What the double of pyACL computes with; the real module brings its own libraries too.
DOUBLE_NEEDS = (
    *NUMPY,
    "onnx",
    "onnxruntime",
    "google",
    "ml_dtypes",
    "flatbuffers",
    "packaging",
    "protobuf",
    "typing_ext",
)
NO_TORCH = re.compile(r"^(?!torch|nvidia|triton|functorch|__editable__|.*\.pth$)")
WHOLE = """
import sys
from helpers import recipes, stages
from helpers.run import Run
recipe = recipes.load(sys.argv[1])
run = Run(recipe.prepare_params(target="ascend310p3", demo_seeds=[9001]))
steps = (stages.prepare_data, stages.export_onnx, stages.simplify_onnx, stages.apply_surgery, stages.compile_model)
for step in (*steps, stages.infer_cases, stages.score_cases):
    step(recipe, run)
run.finish()
"""

pytestmark = pytest.mark.slow


class Machine:
    """A folder with a copy of the cookbook, and an interpreter that has only the packages that are named."""

    def __init__(self, folder: Path, packages: tuple[str, ...] | re.Pattern, *, weights: bool = True):
        self.folder = folder
        leave = shutil.ignore_patterns("__pycache__", *([] if weights else ["weights"]))
        shutil.copytree(ROOT / "helpers", folder / "cookbook" / "helpers", ignore=leave)
        shutil.copytree(ROOT / "params", folder / "cookbook" / "params")
        venv.create(folder / "environment", with_pip=False, symlinks=True)
        (target,) = (folder / "environment" / "lib").glob("python3*/site-packages")
        for path in Path(site.getsitepackages()[0]).iterdir():
            fits = packages.match(path.name) if isinstance(packages, re.Pattern) else path.name.startswith(packages)
            if fits:
                (target / path.name).symlink_to(path)
        self.python = folder / "environment" / "bin" / "python"

    def run(self, *words: str, environment: dict[str, str], path: str = "") -> str:
        """Runs `python WORDS` in the machine's folder."""
        environment = {**environment, "PYTHONPATH": ":".join(filter(None, ["cookbook", path]))}
        words = (str(self.python), *words)
        done = subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def lacks(self, *modules: str, environment: dict[str, str]) -> bool:
        """Whether none of the modules can be imported."""
        code = f"import importlib.util as u; print([n for n in {modules!r} if u.find_spec(n)])"
        return self.run("-c", code, environment=environment).strip() == "[]"

    def outputs(self, recipe: str) -> dict[str, bytes]:
        """Masks and scores of the machine's one run."""
        (run,) = (self.folder / "cookbook" / "outputs" / recipe).iterdir()
        return {path.name: path.read_bytes() for path in [*(run / "masks").iterdir(), run / "metrics.json"]}


def carry(bundle: Path, machine: Machine, before: Machine) -> Path:
    """Moves the bundle on; the machine it comes from is gone."""
    moved = shutil.move(bundle, machine.folder / bundle.name)
    shutil.rmtree(before.folder)
    return Path(moved)


def vendor_python(path: Path) -> Path:
    """An interpreter that has the double of pyACL."""
    path.write_text(
        f'#!/bin/sh\nPYTHONPATH="{DOUBLES / "cann" / "python"}" exec "{sys.executable}" "$@"\n', encoding="utf-8"
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("recipe", ["unet_carvana", "nnunet_heart"])
def test_masks_are_those_of_the_whole_run(recipe, tmp_path, cann_doubles):
    cann = cann_doubles.environment()
    whole = Machine(tmp_path / "whole", re.compile(r"^(?!__editable__|.*\.pth$)"))
    whole.run("-c", WHOLE, recipe, environment=cann, path=str(DOUBLES / "cann" / "python"))
    expected = whole.outputs(recipe)
    cann_doubles.assert_clean()
    assert len(expected) >= 2

    bare = {**cann, "PATH": "/usr/bin:/bin"}
    first = Machine(tmp_path / "workstation", re.compile(r"^(?!__editable__|.*\.pth$)"))
    asked = ("-p", "target", "ascend310p3", "-p", "demo_seeds", "[9001]")
    first.run("-m", "helpers", "export", recipe, "--to", "bundle", *asked, environment=bare)

    second = Machine(tmp_path / "compiler", NO_TORCH, weights=False)
    assert second.lacks("torch", environment=cann)
    bundle = carry(first.folder / "bundle", second, first)
    second.run("-m", "helpers", "compile", "bundle", environment=cann)

    third = Machine(tmp_path / "card", DOUBLE_NEEDS, weights=False)
    assert third.lacks("torch", "pydantic", "yaml", "scipy", "psutil", "SimpleITK", environment=bare)
    bundle = carry(bundle, third, second)
    copy = shutil.copytree(bundle, tmp_path / "copy" / "bundle")
    third.run("-m", "helpers", "infer", "bundle", environment=cann, path=str(DOUBLES / "cann" / "python"))

    other = Machine(tmp_path / "numpy_alone", NUMPY, weights=False)
    assert other.lacks("torch", "pydantic", "yaml", "onnx", "onnxruntime", environment=bare)
    vendor = vendor_python(tmp_path / "vendor-python")
    copy = Path(shutil.move(copy, other.folder / "bundle"))
    other.run("-m", "helpers", "infer", "bundle", "--python", str(vendor), environment=cann)
    cann_doubles.assert_clean(at_least=3)
    answers = [{path.name: path.read_bytes() for path in (place / "answers").iterdir()} for place in (bundle, copy)]
    assert answers[0] == answers[1] != {}

    fourth = Machine(tmp_path / "laptop", NO_TORCH, weights=False)
    shutil.copytree(ROOT / "helpers" / "weights", fourth.folder / "cookbook" / "helpers" / "weights")
    bundle = carry(bundle, fourth, third)
    assert "passed: " in fourth.run("-m", "helpers", "score", "bundle", environment=bare)
    assert fourth.outputs(recipe) == expected
    text = (bundle / "bundle.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text and not _absolute_paths(json.loads(text))


def _absolute_paths(value: object) -> list[str]:
    """Every string in a JSON value, and every key, that is an absolute path."""
    if isinstance(value, dict):
        return [name for name in value if name.startswith("/")] + _absolute_paths(list(value.values()))
    if isinstance(value, list):
        return [path for part in value for path in _absolute_paths(part)]
    return [value] if isinstance(value, str) and value.startswith("/") else []
