"""What a user does with a notebook in JupyterLab, and what the page shows."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import numpy as np
from chromium import Watched
from lab_server import Lab
from PIL import Image

_ERROR = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']"


class NotebookPage:
    """One notebook in one browser."""

    def __init__(self, watched: Watched, lab: Lab, shots: Path):
        self.watched, self.page, self.lab, self._shots = watched, watched.page, lab, shots

    def open(self, name: str) -> None:
        """Opens the notebook and waits for its kernel."""
        cells = json.loads((self.lab.folder / name).read_text(encoding="utf-8"))["cells"]
        self._code_cells = sum(cell["cell_type"] == "code" for cell in cells)
        self.page.goto(self.lab.url(name))
        self.page.wait_for_selector(".jp-NotebookPanel-toolbar", timeout=60_000)
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
        self._wait_for_kernel(name)

    def run_all(self, timeout_s: float) -> None:
        """Chooses Run > Run All Cells; returns when the last cell has a new number, fails on an error in the page."""
        prompts = self.page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt")
        before = prompts.all_inner_texts()
        for _ in range(3):  # JupyterLab ignores the command while its page does not know the kernel yet
            self.page.get_by_role("menuitem", name="Run", exact=True).click()
            self.page.get_by_text("Run All Cells", exact=True).click()
            self.wait(5)
            if prompts.first.inner_text() != before[0]:
                break
        failed = self.page.locator(f".jp-Notebook {_ERROR}")
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            assert failed.count() == 0, failed.first.inner_text()
            last = prompts.last.inner_text()
            if prompts.count() == self._code_cells and last != before[-1] and re.fullmatch(r"\[\d+\]:", last.strip()):
                return
            self.wait(0.5)
        raise AssertionError(f"did not finish within {timeout_s} s: {prompts.all_inner_texts()}")

    def run_first(self, timeout_s: float) -> None:
        """Runs the first cell, selects the second and waits for the number of the first."""
        self.page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
        self.run_next()
        numbered = self.page.locator(".jp-CodeCell .jp-InputPrompt").get_by_text("[1]:", exact=True)
        numbered.wait_for(timeout=timeout_s * 1000)

    def run_next(self) -> None:
        """Runs the selected cell and selects the next."""
        self.page.keyboard.press("Shift+Enter")

    def _wait_for_kernel(self, name: str) -> None:
        # Running a cell before the page knows its kernel would open a dialog.
        for _ in range(240):
            kernels = [each["kernel"] for each in self.lab.sessions() if each["path"] == name and each["kernel"]]
            if any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels):
                self.page.get_by_text("| Idle").first.wait_for(timeout=60_000)
                return
            self.wait(0.25)
        raise AssertionError(f"no idle kernel for {name}: {self.lab.sessions()}")

    def shot(self, name: str, of=None) -> None:
        """Saves a screenshot of the page or of one element."""
        (of or self.page).screenshot(path=str(self._shots / f"{name}.png"))

    def wait(self, seconds: float) -> None:
        """Lets the page work."""
        self.page.wait_for_timeout(seconds * 1000)


def pixels(locator) -> np.ndarray:
    """The current picture of an element, (H, W, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB"))


def wait_until_drawn(page: NotebookPage, locator, timeout_s: float = 30.0, settled: bool = True) -> np.ndarray:
    """The element's picture once it has more than one colour and, if `settled`, no longer changes."""
    locator.wait_for(timeout=120_000)
    before = np.zeros(0)
    for _ in range(int(timeout_s / 0.5)):
        now = pixels(locator)
        if now.std() > 10 and (not settled or np.array_equal(now, before)):
            return now
        before = now
        page.wait(0.5)
    raise AssertionError(f"blank or still changing after {timeout_s} s: deviation {pixels(locator).std():.1f}")
