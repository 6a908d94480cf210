"""JupyterLab on loopback for a test, with its own folder, settings and token."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_START_S = 60


@dataclass(frozen=True)
class Lab:
    """A running server: its address, token and folder, and where the notebooks write their runs."""

    origin: str
    token: str
    folder: Path
    outputs: Path

    def url(self, notebook: str) -> str:
        """The page of a notebook in a fresh workspace."""
        return f"{self.origin}/lab/tree/{notebook}?reset&token={self.token}"

    def sessions(self) -> list[dict]:
        """The open notebooks with the state of their kernels, as reported by the server."""
        with urllib.request.urlopen(self.request("sessions"), timeout=10) as answer:
            return json.load(answer)

    def request(self, name: str) -> urllib.request.Request:
        """A request to the server's API."""
        return urllib.request.Request(f"{self.origin}/api/{name}", headers={"Authorization": f"token {self.token}"})


@contextlib.contextmanager
def start_lab(folder: Path, outputs: Path) -> Iterator[Lab]:
    """Starts JupyterLab in a folder, and stops it with all its kernels at the end.

    Args:
        folder: what the page may open; settings and runtime files are in hidden folders inside it.
        outputs: where the notebooks write their runs.
    """
    port, token = _free_port(), secrets.token_hex(16)
    settings = folder / ".settings" / "@jupyterlab"
    _write_settings(settings)
    hidden = {
        "JUPYTERLAB_SETTINGS_DIR": folder / ".settings",
        "JUPYTERLAB_WORKSPACES_DIR": folder / ".workspaces",
        "JUPYTER_RUNTIME_DIR": folder / ".runtime",
        "JUPYTER_DATA_DIR": folder / ".data",
        "IPYTHONDIR": folder / ".ipython",
        "PYTHONPATH": ROOT,
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--ip=127.0.0.1", f"--port={port}", "--no-browser"]
    command += [f"--notebook-dir={folder}", f"--IdentityProvider.token={token}", "--ServerApp.port_retries=0"]
    command += ["--allow-root"] if os.geteuid() == 0 else []
    with open(folder / ".lab.log", "wb") as log:
        server = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **{name: str(value) for name, value in hidden.items()}},
            start_new_session=True,
        )
        try:
            lab = Lab(f"http://127.0.0.1:{port}", token, folder, outputs)
            _wait_until_up(lab, server)
            yield lab
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def _write_settings(folder: Path) -> None:
    # Renders all cells, so that one below the visible part can be found; no question about news.
    for name, content in {
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }.items():
        path = folder / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")


def _wait_until_up(lab: Lab, server: subprocess.Popen) -> None:
    request = lab.request("status")
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(request, timeout=2):
            return
        time.sleep(0.3)
    log = (lab.folder / ".lab.log").read_text(encoding="utf-8", errors="replace")
    raise RuntimeError(f"JupyterLab did not start:\n{log[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
