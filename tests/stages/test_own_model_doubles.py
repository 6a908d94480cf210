"""Own models on the strict doubles of an Ascend 310P3 and an MLU370."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, write_volume
from helpers.graph.frozen_graph import convert_frozen_graph
from helpers.params.paths import PROJECT_ROOT
from tests.conftest import MAGICMIND
from tests.graph.test_frozen_graph import u_net

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CANN = PROJECT_ROOT / "tests" / "doubles" / "cann"


def environment(target: str, reports) -> dict[str, str]:
    """The environment of a machine with the double of a target."""
    held = {**os.environ}
    if target == "mlu370":
        return held | {
            "PYTHONPATH": f"{PROJECT_ROOT}:{MAGICMIND / 'python'}",
            "MM_DOUBLE_REPORT": f"{reports}/%p.json",
        }
    switches = {
        "SOC": "Ascend310P3",
        "SMI": "duo",
        "CANN": "8",
        "OM_SUFFIX": "",
        "FP16": "1",
        "PYTHON": sys.executable,
    }
    held |= {f"CANN_DOUBLE_{name}": value for name, value in switches.items()}
    held |= {"CANN_DOUBLE_REPORT": f"{reports}/%p.json", "PATH": f"{CANN / 'bin'}:{held['PATH']}"}
    return held | {"PYTHONPATH": f"{PROJECT_ROOT}:{CANN / 'python'}"}


def cookbook(target: str, reports, *words: str) -> str:
    """Runs the command on a machine with a double, and checks the reports of the double."""
    reports.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "helpers", *words]
    done = subprocess.run(
        command, env=environment(target, reports), cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(path.read_text(encoding="utf-8")) for path in reports.glob("*.json")]
    assert found and all(report["ok"] for report in found), found
    return done.stdout


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """One folder of outputs, so that what does not depend on the target is made once."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def tensorflow_model(tmp_path_factory) -> list[str]:
    """A 3-D network as a frozen graph holds it, its card and a volume: the words of the command."""
    tmp_path = tmp_path_factory.mktemp("model")
    (tmp_path / "graph.pb").write_bytes(u_net())
    shape = (None, 8, 8, 8, 2)
    convert_frozen_graph(tmp_path / "graph.pb", tmp_path / "net.onnx", output="prob", shape=shape)
    random = np.random.default_rng(0)
    for channel in ("a", "b"):
        values = random.standard_normal((1, 12, 10, 9)).astype(np.float32)
        write_volume(tmp_path / f"case_{channel}.nii.gz", Volume(values, Geometry.identity((12, 10, 9))))
    card = {
        "model": {"file": "net.onnx", "layout": "channels_last"},
        "data": {"kind": "volume", "files": {name: f"{{case}}_{name}.nii.gz" for name in ("a", "b")}},
        "preparation": {"fit": "window", "axes": "xyz", "intensity": [{"z_score": {}}]},
        "output": {"kind": "probabilities", "activation": "sigmoid"},
        "classes": {"background": 0, "one": 1, "two": 2, "three": 3, "four": 4},
    }
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")
    return ["-p", "card", str(tmp_path / "card.yaml"), "-p", "data_root", str(tmp_path)]


@pytest.mark.parametrize("target", ["ascend310p3", "mlu370"])
@pytest.mark.parametrize("own", [False, True], ids=["demo", "3-D with channels last"])
def test_a_run_on_the_double(tmp_path, outputs, target, own, request):
    words = request.getfixturevalue("tensorflow_model") if own else ["-p", "demo_seeds", "9001"]
    out = ["-p", "outputs", str(outputs)]
    said = cookbook(target, tmp_path / "reports", "run", "own_model", "-p", "profile", target, *words, *out)
    assert said.startswith("passed: ")
    folder = Path(said.removeprefix("passed: ").strip())
    assert folder.parent == outputs / "own_model" and folder.name.startswith(f"{target}-")
    record = json.loads((folder / "run.json").read_text("utf-8"))
    assert record["status"] == "passed"
    assert "compile_fallback" not in record["stages"]


@pytest.mark.parametrize(
    ("own", "targets", "precisions"),
    [(False, "cpu", "f32,bf16"), (True, "cpu,onnxruntime", "f32")],
    ids=["demo", "3-D with channels last"],
)
def test_precisions_and_targets_side_by_side_and_bisection(outputs, own, targets, precisions, request):
    words = request.getfixturevalue("tensorflow_model") if own else ["-p", "demo_seeds", "9001"]
    given = [*words, "-p", "profile", "cpu" if own else "demo", "-p", "outputs", str(outputs)]
    command = [sys.executable, "-m", "helpers"]
    sweep = [*command, "sweep", "own_model", "--targets", targets, "--precisions", precisions, *given]
    done = subprocess.run(sweep, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    bisect = [*command, "bisect", "own_model", *given]
    done = subprocess.run(bisect, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every node is within" in done.stdout
