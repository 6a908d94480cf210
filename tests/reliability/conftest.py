"""Programs that run stages in processes that a test may kill, and what a killed process may not leave."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from helpers.params.paths import PARAMS_FOLDER
from helpers.run.store import Store

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
MARK = "COOKBOOK_TEST_MARK"


def marked_processes(mark: str) -> list[psutil.Process]:
    """The processes whose environment has the mark, and so those that they started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for a condition; returns whether it came true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders below a folder."""
    return sorted(str(path.relative_to(folder)) for kind in (".part-*", ".work-*") for path in folder.rglob(kind))


def shared_memory() -> set[str]:
    """The cookbook's files in shared memory."""
    return {path.name for path in Path("/dev/shm").glob("cookbook-*")}


def torn_entries(outputs: Path) -> list[str]:
    """Entries of the store that are not complete: an unreadable record, or a file without its digest."""
    store = Store(outputs / ".store")
    names = [path.name for path in store.root.glob("[!.]*")]
    return [name for name in names if store.find(name) is None]


def torn_records(outputs: Path) -> list[str]:
    """Records of runs and stages that cannot be read."""
    torn = []
    for path in (*outputs.glob("*/*/run.json"), *outputs.glob("*/*/.stages/**/*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            torn.append(str(path))
    return torn


class Killed:
    """A timer that sends a signal to a process, which may have ended before."""

    def __init__(self, pid: int, number: int | None, after_s: float):
        self._timer = threading.Timer(after_s, self._send, (pid, number))
        if number is not None:
            self._timer.start()

    def cancel(self) -> None:
        """Sends no signal any more."""
        self._timer.cancel()

    @staticmethod
    def _send(pid: int, number: int) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


class SmallStages:
    """Starts runs of `small_stages_server.py`."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "small_stages_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdout.readline() == "ready\n"

    def run(self, outputs: Path, kill: int | None = None, after_s: float = 0.0) -> int:
        """Performs every stage, or sends a signal after some seconds; returns the exit code."""
        self._process.stdin.write(f"{outputs}\n")
        self._process.stdin.flush()
        killer = Killed(int(self._process.stdout.readline()), kill, after_s)
        code = int(self._process.stdout.readline())
        killer.cancel()
        return code

    def close(self) -> None:
        """Ends the server."""
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class Pipeline:
    """Starts runs of `pipeline_program.py`, with a checkpoint in `folder`."""

    def __init__(self, folder: Path):
        self.mark = uuid.uuid4().hex
        self._folder = folder

    def run(self, outputs: Path, kill: int | None = None, after_s: float = 0.0, **given: object) -> int:
        """Runs every stage, or sends a signal some seconds after the first one began; returns the exit code."""
        arguments = [str(self._folder / "params"), json.dumps({"outputs": str(outputs), **given})]
        with subprocess.Popen(
            [sys.executable, str(HERE / "pipeline_program.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, MARK: self.mark, "PYTHONPATH": str(ROOT)},
        ) as process:
            assert process.stdout.readline() == "ready\n"
            killer = Killed(process.pid, kill, after_s)
            process.communicate("go\n", timeout=200)
            killer.cancel()
        return process.returncode

    def has_ended(self) -> bool:
        """Whether nothing that a run started is left; a child gets a few seconds."""
        return wait_until(lambda: marked_processes(self.mark) == [], 10)


@pytest.fixture(scope="module")
def small_stages():
    """A server of small stages."""
    server = SmallStages()
    yield server
    server.close()


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """The tiny recipe's pipeline."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("pipeline")
    spec = importlib.util.spec_from_file_location("tiny_weights", ROOT / "tests" / "stages" / "tiny_recipe.py")
    sys.modules[spec.name] = tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    save_file(tiny.trained_state(), folder / "trained.safetensors")
    sys.modules.pop(spec.name)
    shutil.copytree(PARAMS_FOLDER / "targets", folder / "params" / "targets")
    (folder / "params" / "tiny").mkdir()
    (folder / "params" / "tiny" / "demo.yaml").write_text(
        f"checkpoint: {folder / 'trained.safetensors'}\ndemo_seeds: [1, 2, 3]\ndemo_minimum_scores: {{cube: 0.9}}\n",
        encoding="utf-8",
    )
    return Pipeline(folder)
