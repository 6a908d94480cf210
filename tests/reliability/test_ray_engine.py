"""Masks made in actors of Ray are those made here; actors that die cost no case and double none."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

from helpers import recipes, stages
from helpers.errors import DeviceError, GateError
from helpers.run.digest import digest_file
from helpers.run.on_ray import ActorPlan, ray_cluster
from helpers.stages.data import selected_cases
from tests.reliability.conftest import shared_memory, torn_entries, wait_until
from tests.reliability.deadly_recipe import DEADLY, SLEEP

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A function that starts a run of the deadly recipe and carries it to its compiled model."""
    from safetensors.torch import save_file

    sys.path.insert(0, str(HERE))
    folder = tmp_path_factory.mktemp("deadly")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "_RECIPES", dict(recipes._RECIPES))
        recipes.register("deadly", "deadly_recipe:RECIPE", params_folder=folder / "params")
        (folder / "params" / "deadly").mkdir(parents=True)
        (folder / "params" / "deadly" / "demo.yaml").write_text("{}\n", encoding="utf-8")
        recipes.load("deadly")
        save_file(sys.modules["tiny_recipe"].trained_state(), folder / "trained.safetensors")
        steps = (stages.prepare_data, stages.export_onnx, stages.simplify_onnx, stages.apply_surgery)

        def start(outputs: Path, count: int, **given):
            params = {"outputs": str(outputs), "checkpoint": str(folder / "trained.safetensors"), **given}
            recipe, run = stages.start_run("deadly", {**params, "demo_seeds": list(range(count))})
            for step in (*steps, stages.lint_graph, stages.compile_model):
                step(recipe, run)
            return recipe, run

        yield start
    sys.path.remove(str(HERE))


def _masks(run) -> dict[str, str]:
    return {path.name: digest_file(path) for path in sorted(run.path("masks").iterdir())}


def _actors() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if _title(each).startswith("ray::_Actor")]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _kill_some(run, after: list[int]) -> threading.Thread:
    """Kills an actor each time that so many cases have ended."""

    def ended() -> int:
        return sum("infer/" in name for name in run.record.content["stages"])

    def kill() -> None:
        for count in after:
            wait_until(lambda count=count: ended() >= count, 200)
            os.kill(_actors()[0].pid, signal.SIGKILL)
            killed.append(count)

    killed: list[int] = []
    thread = threading.Thread(target=kill)
    thread.killed = killed  # type: ignore[attr-defined]
    thread.start()
    return thread


def test_actors_that_are_killed_cost_no_case(prepared, tmp_path, monkeypatch):
    recipe, alone = prepared(tmp_path / "local", 40)
    stages.infer_cases(recipe, alone)
    before = shared_memory()
    monkeypatch.setenv(SLEEP, "0.3")
    recipe, run = prepared(tmp_path / "ray", 40, engine="ray", ray_actors=2)
    killer = _kill_some(run, [3, 12, 25])
    results = stages.infer_cases(recipe, run)
    killer.join()
    assert len(killer.killed) == 3
    assert _masks(run) == _masks(alone) and len(_masks(run)) == 40
    assert [each.stage for each in results] == [f"infer/{case.id}" for case in selected_cases(recipe, run)]
    entries = [json.loads(path.read_text(encoding="utf-8")) for path in run.store.root.glob("*/entry.json")]
    assert sorted(name for entry in entries for name in entry["files"] if "masks/" in name) == [
        f"masks/{name}" for name in _masks(run)
    ]
    assert torn_entries(tmp_path / "ray") == []
    assert list(Path(tempfile.gettempdir()).glob(f".work-*-{os.getpid()}-*")) == []
    assert wait_until(lambda: not _actors(), 20) and shared_memory() == before


def test_a_case_that_kills_its_actors_is_set_aside(prepared, tmp_path, monkeypatch):
    recipe, run = prepared(tmp_path, 6, engine="ray", ray_actors=2, on_error="continue")
    monkeypatch.setenv(DEADLY, "case_2")
    with pytest.raises(GateError, match=r"1 of 6 cases have no mask.*case_2.*set aside.*3 actors died"):
        stages.infer_cases(recipe, run)
    assert list(_masks(run)) == [f"case_{seed}.nii.gz" for seed in (0, 1, 3, 4, 5)]
    monkeypatch.delenv(DEADLY)
    recipe, again = prepared(tmp_path, 6, engine="local")
    statuses = {each.stage: each.status for each in stages.infer_cases(recipe, again)}
    assert [name for name, status in statuses.items() if status == "made"] == ["infer/case_2"]
    assert len(_masks(again)) == 6


def test_more_actors_than_the_cluster_has_are_refused(prepared, tmp_path):
    recipe, run = prepared(tmp_path, 2, engine="ray", ray_actors=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("helpers.stages.on_actor.resource_of", lambda target: "NPU")
        with pytest.raises(DeviceError, match="too few devices: received NPU: 0, expected 2"):
            stages.infer_cases(recipe, run)


def test_a_cluster_that_is_not_there_is_refused(prepared, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    recipe, run = prepared(tmp_path, 2, engine="ray", ray_address="auto")
    with pytest.raises(DeviceError, match="there is no Ray cluster to join"):
        stages.infer_cases(recipe, run)


def test_a_cluster_of_this_machine_listens_on_loopback_only():
    import ray

    with ray_cluster("local", ActorPlan("CPU", 1)) as count:
        assert count == 1 and ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1"
        own = {os.getpid(), *(each.pid for each in psutil.Process().children(recursive=True))}
        sockets = [each for each in psutil.net_connections("inet") if each.pid in own and each.status == "LISTEN"]
        assert len(sockets) >= 4
        assert {each.laddr.ip.removeprefix("::ffff:") for each in sockets} == {"127.0.0.1"}
        with pytest.raises(DeviceError, match="uses Ray already"), ray_cluster("local", ActorPlan("CPU", 1)):
            pass
    assert "RAY_AUTH_TOKEN" not in os.environ and not ray.is_initialized()
