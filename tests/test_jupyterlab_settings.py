"""JupyterLab as started by `make lab`: on loopback, with a token, without news, with the project's settings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
START_S = 60


def make_lab_command() -> list[str]:
    """The Makefile's command, without a browser and on a free port."""
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "lab", "LAB_OPTIONS=--no-browser --port=0"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    (line,) = [line for line in done.stdout.splitlines() if "jupyter lab" in line]
    return line.replace(".venv/bin/python", sys.executable).split()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address, token and log of a running server."""
    setting, *command = make_lab_command()
    name, _, value = setting.partition("=")
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    log = tmp_path_factory.mktemp("lab") / "log"
    home = str(tmp_path_factory.mktemp("home"))
    environment = {**os.environ, name: value.strip('"'), "HOME": home, "JUPYTER_RUNTIME_DIR": f"{home}/runtime"}
    with log.open("w") as stream:
        server = subprocess.Popen([part.replace('"', "") for part in command] + root, stderr=stream, env=environment)
    try:
        yield *wait_for_address(server, log), log
    finally:
        server.terminate()
        server.wait(20)


def wait_for_address(server, log: Path) -> tuple[str, str]:
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        found = re.search(r"(http://[^/\s]+)/lab\S*\?token=(\w+)", log.read_text(encoding="utf-8"))
        if found:
            return found[1], found[2]
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start: {log.read_text(encoding='utf-8')[-800:]}")


def get_json(address: str, path: str, token: str | None = None) -> dict:
    request = urllib.request.Request(f"{address}{path}")
    if token:
        request.add_header("Authorization", f"token {token}")
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def defaults(lab, plugin: str) -> dict:
    properties = get_json(lab[0], f"/lab/api/settings/{plugin}", lab[1])["schema"]["properties"]
    return {name: content.get("default") for name, content in properties.items()}


@pytest.mark.slow
class TestLab:
    def test_listens_on_loopback_only(self, lab):
        assert lab[0].startswith("http://127.0.0.1:") or lab[0].startswith("http://localhost:")
        assert "127.0.0.1" in lab[2].read_text(encoding="utf-8")

    def test_requires_its_token(self, lab):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get_json(lab[0], "/api/contents")
        assert any(item["name"] == "notebooks" for item in get_json(lab[0], "/api/contents", lab[1])["content"])

    def test_checks_for_neither_news_nor_updates(self, lab):
        shown = defaults(lab, "@jupyterlab/apputils-extension:notification")
        assert (shown["fetchNews"], shown["checkForUpdates"]) == ("false", False)
        assert "Extension Manager is 'readonly'" in lab[2].read_text(encoding="utf-8")

    def test_sorts_notebooks_first_and_opens_the_first_one(self, lab):
        assert defaults(lab, "@jupyterlab/filebrowser-extension:browser")["sortNotebooksFirst"] is True
        assert "/lab/tree/notebooks/00_start_here.ipynb" in lab[2].read_text(encoding="utf-8")

    def test_saves_no_widget_state(self, lab):
        assert defaults(lab, "@jupyter-widgets/jupyterlab-manager:plugin")["saveState"] is False
