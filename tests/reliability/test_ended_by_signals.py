"""`cookbook run` and its kernel, told to end or killed while a cell runs: exit code, record, children, leftovers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import nbformat
import psutil
import pytest

from helpers.run.atomic import working_folder
from helpers.run.record import read_run_status
from tests.reliability.conftest import MARK, ROOT, leftovers, marked_processes, wait_until

PROGRAM = """
import sys
from pathlib import Path
from helpers import cli
from helpers.cli import notebook_run
notebook_run.notebook_of = lambda name: Path(sys.argv[1])
sys.exit(cli.main(["run", "unet3d_brats", "-p", "outputs", sys.argv[2]]))
"""
CELLS = (
    'profile = "demo"',
    'from helpers import stages\nrecipe, run = stages.start_run("unet3d_brats", globals())',
    "import subprocess, time\nsubprocess.Popen(['sleep', '600'])\n(run.folder / 'busy').touch()\ntime.sleep(600)",
    "run.finish()",
)
pytestmark = [pytest.mark.slow, pytest.mark.notebook]


class BusyRun:
    """A `cookbook run` whose kernel is in a cell that sleeps and has a child."""

    def __init__(self, folder: Path):
        notebook = nbformat.v4.new_notebook()
        notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
        notebook.cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
        notebook.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(notebook, folder / "source.ipynb")
        self.mark, self.outputs = uuid.uuid4().hex, folder / "outputs"
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder / "source.ipynb"), str(self.outputs)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**os.environ, MARK: self.mark, "TMPDIR": str(self.temporary)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert wait_until(lambda: any(self.outputs.glob("*/*/busy")), 120)
        (self.record,) = self.outputs.glob("*/*/run.json")

    @property
    def kernel(self) -> psutil.Process:
        """The kernel's process."""
        return psutil.Process(json.loads(self.record.read_text(encoding="utf-8"))["pid"])

    def end(self) -> tuple[int, str]:
        """Waits for the end; returns the exit code and standard error. Nothing that was started is left."""
        _, err = self.process.communicate(timeout=60)
        assert wait_until(lambda: marked_processes(self.mark) == [], 10)
        return self.process.returncode, err


@pytest.fixture
def busy(tmp_path):
    run = BusyRun(tmp_path)
    yield run
    for process in marked_processes(run.mark):
        process.kill()
    run.process.communicate()


@pytest.mark.parametrize(
    ("number", "code", "line", "reason"),
    [
        (signal.SIGTERM, 143, "error: ended by SIGTERM; finished stages are kept\n", "SIGTERM"),
        (signal.SIGHUP, 129, "error: ended by SIGHUP; finished stages are kept\n", "SIG"),
        (signal.SIGINT, 130, "error: interrupted; finished stages are kept\n", ""),
    ],
)
def test_the_command_is_told_to_end(busy, number, code, line, reason):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as under nohup, and stays so in the command")
    busy.process.send_signal(number)
    assert busy.end() == (code, line)
    status, why = read_run_status(busy.record)
    assert status == "failed" and reason in why
    assert leftovers(busy.temporary) == [] and list(busy.temporary.rglob("kernel*.json")) == []


def test_the_kernel_is_told_to_end(busy):
    busy.kernel.send_signal(signal.SIGTERM)
    code, err = busy.end()
    assert code == 1 and "the notebook's kernel died" in err
    assert read_run_status(busy.record) == ("failed", "ended by SIGTERM")
    assert list(busy.temporary.rglob("kernel*.json")) == []


def test_the_kernel_is_killed(busy):
    for child in busy.kernel.children():
        child.kill()
    busy.kernel.kill()
    code, err = busy.end()
    assert code == 1 and "the notebook's kernel died" in err
    assert read_run_status(busy.record)[0] == "failed"
    assert list(busy.temporary.rglob("kernel*.json")) == []


def test_the_command_is_killed_and_its_kernel_ends_by_itself(busy):
    kernel = busy.kernel
    children = kernel.children()
    busy.process.kill()
    assert wait_until(lambda: not kernel.is_running(), 20)
    for child in children:  # the cell's own; a stage's children end with the kernel
        child.kill()
    busy.end()
    assert read_run_status(busy.record)[0] == "failed"
    assert list(busy.temporary.rglob("kernel.json")) != []
    with working_folder(busy.temporary):  # as the next run does
        assert list(busy.temporary.rglob("kernel.json")) == []
