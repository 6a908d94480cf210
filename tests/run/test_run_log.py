"""Everything that the cookbook logs ends up in the log of its run."""

from __future__ import annotations

import ast
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.params.paths import PACKAGE_FOLDER
from tests.run.counted_stage import Stage

_LOGGING_CALLS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
# They quieten the loggers of libraries and write nothing themselves.
_QUIETEN = {
    "cli/notebook_run.py",
    "cli/main.py",
    "compile/openvino.py",
    "data/formats/dicom.py",
    "data/formats/dicom_seg.py",
    "run/on_ray.py",
}


def _logger_names(tree: ast.AST) -> list[str]:
    """The arguments of every `getLogger`, as source."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        ast.unparse(call.args[0]) if call.args else ""
        for call in calls
        if isinstance(call.func, (ast.Attribute, ast.Name)) and ast.unparse(call.func).endswith("getLogger")
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE_FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_every_logger_is_the_cookbooks(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = path.relative_to(PACKAGE_FOLDER).as_posix()
    others = [each for each in _logger_names(tree) if each != "'cookbook'" and not each.startswith("'cookbook.")]
    assert not others or name in _QUIETEN
    roots = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "logging" and node.attr in _LOGGING_CALLS
    ]
    assert not roots, "logs to the root logger"


def test_warnings_of_worker_threads_are_in_the_log(run):
    logger = logging.getLogger("cookbook.worker")
    thread = threading.Thread(target=logger.warning, args=("from a thread",))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(2) as pool:
        pool.submit(logging.getLogger("cookbook").warning, "from a %s", "pool").result()
    log = run.path("run.log").read_text(encoding="utf-8")
    assert "WARNING from a thread" in log and "WARNING from a pool" in log


def test_the_log_of_the_previous_run_is_closed(runs):
    first, second = runs(), runs(batch_size=2)
    Stage().perform(second)
    assert "Some work" in second.path("run.log").read_text(encoding="utf-8")
    assert "Some work" not in first.path("run.log").read_text(encoding="utf-8")
