"""The record of a run: `run.json`, whose heartbeat distinguishes a live run from a dead one, and `run.log`."""

from __future__ import annotations

import atexit
import contextlib
import copy
import json
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from helpers.errors import DataError, ResourceError
from helpers.run.atomic import write_json
from helpers.run.said import forget_said
from helpers.run.termination import Terminated, call_before_termination

_LOG = logging.getLogger("cookbook")
HEARTBEAT_S = 5.0
STALE_AFTER_S = 30.0
ENDED_EARLY = "the kernel ended before the run's last step"

# A record with more stages than this is written by the heartbeat only: each write costs time for every stage.
_WRITTEN_AT_ONCE = 200
_REQUIRED_KEYS = ("params", "environment", "stages", "status")

# The record that writes each file: when a kernel starts a run again, the new record replaces the old one.
_ACTIVE: dict[Path, RunRecord] = {}


class RunRecord:
    """The record of one run, rewritten atomically at every change and every few seconds.

    Its status is `running`, `passed` or `failed`. `read_run_status` reports a running record as failed if its
    heartbeat is old or its process has ended. A process that gets SIGTERM or SIGHUP ends its record first.

    Args:
        path: the file to write.
        content: the fields that do not change.
    """

    def __init__(self, path: Path, content: dict[str, Any]):
        self.path = path
        self._lock = threading.RLock()  # a signal's handler may end the record while its own thread writes it
        self._stop = threading.Event()
        self._muted = False
        if path in _ACTIVE:
            _ACTIVE[path]._mute()
        _ACTIVE[path] = self
        self._content = {
            **content,
            "status": "running",
            "reason": "",
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": _now(),
            "stages": {},
            "running": {},
        }
        self._write()
        self._thread = threading.Thread(target=self._beat, name="run-heartbeat", daemon=True)
        self._thread.start()
        atexit.register(self._fail_at_exit)
        call_before_termination(_fail_active_records)

    @property
    def content(self) -> dict[str, Any]:
        """A copy of the current content."""
        with self._lock:
            return json.loads(json.dumps(self._content))

    def field(self, name: str) -> Any:
        """A copy of one top-level field, or None; unlike `content` it does not copy every stage."""
        with self._lock:
            return copy.deepcopy(self._content.get(name))

    def set_stage(self, name: str, result: dict[str, Any]) -> None:
        """Records a stage, as the last one if it was recorded before."""
        with self._lock:
            self._content["stages"].pop(name, None)
            self._content["stages"][name] = {**result, "ended": _now()}
            is_long = len(self._content["stages"]) > _WRITTEN_AT_ONCE
        if not is_long:
            self._write()

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Lists a stage as running while the block runs, for readers of the record; the heartbeat writes it."""
        with self._lock:
            self._content["running"][name] = _now()
        try:
            yield
        finally:
            with self._lock:
                self._content["running"].pop(name, None)

    def update(self, **content: object) -> None:
        """Sets top-level fields."""
        with self._lock:
            self._content.update(content)
        self._write()

    def end(self, status: str, reason: str = "") -> None:
        """Ends the run as `passed` or `failed`."""
        self._stop.set()
        with self._lock:
            self._content.update(status=status, reason=reason, ended=_now())
        self._write()

    def fail_if_running(self, reason: str) -> None:
        """Ends the run as failed, unless it has ended."""
        if not self._stop.is_set() and self.path.parent.exists():
            self.end("failed", reason)

    def _write(self) -> None:
        with self._lock:
            if not self._muted:
                self._content["heartbeat"] = _now()
                write_json(self.path, self._content)

    def _mute(self) -> None:
        self._stop.set()
        with self._lock:
            self._muted = True

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            # A removed folder or a full disk must not end the run; the missing heartbeat is enough.
            try:
                if self.path.parent.exists():
                    self._write()
            except (OSError, ResourceError):
                continue

    def _fail_at_exit(self) -> None:
        self.fail_if_running(ENDED_EARLY)


def read_record(folder: Path) -> dict[str, Any]:
    """Reads the `run.json` of a run.

    Raises:
        DataError: there is no run in the folder, or its record is damaged.
    """
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in _REQUIRED_KEYS if key not in record]
        kinds = {key: type(record[key]).__name__ for key in _REQUIRED_KEYS if key not in missing}
    except FileNotFoundError:
        raise DataError(f"no run in {folder}", expected="a folder with run.json") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read", received=f"{type(error).__name__}: {error}") from None
    if missing:
        raise DataError(f"{path} is incomplete", received=f"no {', '.join(missing)}")
    wrong = [f"{key} is {kind}" for key, kind in kinds.items() if kind != ("str" if key == "status" else "dict")]
    wrong += (
        [f"stage {name} is not a dict" for name, stage in record["stages"].items() if not isinstance(stage, dict)]
        if not wrong
        else []
    )
    if wrong:
        raise DataError(f"{path} is damaged", received=", ".join(wrong[:3]))
    return record


def read_run_status(path: Path) -> tuple[str, str]:
    """Reads (status, reason) from a `run.json`; a running record without a live process is failed.

    A running record is live if its heartbeat is at most 30 s away from now, in either direction, and, if it is of
    this machine, its process exists. The clocks of machines that share a folder must therefore agree within 30 s.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        status, reason = content["status"], str(content.get("reason", ""))
        if status in ("passed", "failed"):
            return status, reason
        age_s = time.time() - float(content["heartbeat"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        return "failed", f"no readable run.json ({type(error).__name__})"
    if status != "running":
        return "failed", f"run.json has the unknown status {status!r}"
    if not math.isfinite(age_s):
        return "failed", "its heartbeat is not a time"
    if age_s > STALE_AFTER_S:
        return "failed", f"no heartbeat for {age_s:.0f} s"
    if age_s < -STALE_AFTER_S:
        return "failed", f"its heartbeat is {-age_s:.0f} s in the future; a clock is or was wrong"
    if content.get("host") == socket.gethostname() and not _process_exists(content.get("pid")):
        return "failed", f"its process {content.get('pid')} has ended"
    return "running", ""


def _process_exists(pid: object) -> bool:
    with contextlib.suppress(OverflowError):
        return isinstance(pid, int) and psutil.pid_exists(pid)
    return False


def mark_failed(path: Path, reason: str) -> None:
    """Ends the record of a dead process as failed; one that has ended for its own reason stays."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        is_open = content["status"] == "running" or content.get("reason") == ENDED_EARLY
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    if is_open:
        write_json(path, {**content, "status": "failed", "reason": reason, "ended": _now()})


def attach_log_file(path: Path) -> None:
    """Sends the cookbook's log to a file, and closes the previous run's; remarks on files are said again."""
    forget_said()
    logger = logging.getLogger("cookbook")
    logger.setLevel(logging.INFO)
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            logger.removeHandler(handler)
            handler.close()
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)


def _fail_active_records(error: Terminated) -> None:
    for record in _ACTIVE.values():
        record.fail_if_running(str(error))
    _LOG.error("%s", error)


def _now() -> float:
    return round(time.time(), 3)
