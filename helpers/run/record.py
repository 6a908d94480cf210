"""`run.json`: what a run is doing and has done, with a heartbeat, so that a dead run never reads as a good one."""

from __future__ import annotations

import atexit
import json
import logging
import os
import socket
import threading
import time
from pathlib import Path

import psutil

from helpers.errors import ResourceError
from helpers.run.atomic import write_json

HEARTBEAT_S = 5.0
STALE_AFTER_S = 30.0
ENDED_EARLY = "the kernel ended before the run's last step"

# The record that speaks for a file: a run started again in one kernel takes over from the one before.
_SPEAKING: dict[Path, RunRecord] = {}


class RunRecord:
    """The record of one run, rewritten atomically at every change and every few seconds.

    Statuses: `running`, `passed`, `failed`. A record that is `running` without a fresh heartbeat, or whose
    process is gone, reads as failed (`read_run_status`).
    """

    def __init__(self, path: Path, content: dict):
        self.path = path
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._silent = False
        if path in _SPEAKING:
            _SPEAKING[path]._fall_silent()
        _SPEAKING[path] = self
        self._content = {
            **content,
            "status": "running",
            "reason": "",
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": _now(),
            "stages": {},
        }
        self._write()
        self._thread = threading.Thread(target=self._beat, name="run-heartbeat", daemon=True)
        self._thread.start()
        atexit.register(self._fail_at_exit)

    @property
    def content(self) -> dict:
        """A copy of the record as it stands."""
        with self._lock:
            return json.loads(json.dumps(self._content))

    def set_stage(self, name: str, result: dict) -> None:
        """Records or replaces one stage's result."""
        with self._lock:
            self._content["stages"].pop(name, None)
            self._content["stages"][name] = {**result, "ended": _now()}
        self._write()

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

    def _write(self) -> None:
        with self._lock:
            if not self._silent:
                self._content["heartbeat"] = _now()
                write_json(self.path, self._content)

    def _fall_silent(self) -> None:
        self._stop.set()
        with self._lock:
            self._silent = True

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            # A removed folder or a full disk must not end the work: a missed beat says enough.
            try:
                if self.path.parent.exists():
                    self._write()
            except (OSError, ResourceError):
                continue

    def _fail_at_exit(self) -> None:
        if not self._stop.is_set() and self.path.parent.exists():
            self.end("failed", ENDED_EARLY)


def read_run_status(path: Path) -> tuple[str, str]:
    """(status, reason) of a `run.json`; a running record without a live process is failed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["status"] != "running":
            return content["status"], content.get("reason", "")
        age_s = time.time() - content["heartbeat"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return "failed", f"no readable run.json ({type(error).__name__})"
    if age_s > STALE_AFTER_S:
        return "failed", f"no sign of life for {age_s:.0f} s"
    if content.get("host") == socket.gethostname() and not psutil.pid_exists(content.get("pid", -1)):
        return "failed", f"its process {content.get('pid')} is gone"
    return "running", ""


def mark_failed(path: Path, reason: str) -> None:
    """Ends a dead process's record as failed; a record that ended for a reason of its own is left alone."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if content["status"] == "running" or content["reason"] == ENDED_EARLY:
        write_json(path, {**content, "status": "failed", "reason": reason, "ended": _now()})


def _now() -> float:
    return round(time.time(), 3)


def attach_log_file(path: Path) -> None:
    """Sends the logger's records to a run's log file; the former run's file is let go."""
    logger = logging.getLogger("cookbook")
    logger.setLevel(logging.INFO)
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            logger.removeHandler(handler)
            handler.close()
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
