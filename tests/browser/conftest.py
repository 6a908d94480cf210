"""A browser, JupyterLab with copies of the notebooks, and a folder for screenshots."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from chromium import find_chromium, open_chromium
from lab_server import ROOT, start_lab
from notebook_page import NotebookPage

# Two demo cases instead of four, and few of the source's random crops: every step runs, in less time.
_SHORT = "\ndemo_seeds = [9001, 9002]  # short\nminimum_scores = {}  # short\nsource_crops = 2  # short"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path; without one the tests are skipped."""
    pytest.importorskip("playwright", reason="playwright is not installed; run make test-browser")
    found = find_chromium()
    if found is None:
        pytest.skip("Chromium is not installed; run `make browser-deps`, or set COOKBOOK_CHROMIUM")
    return found


@pytest.fixture(scope="session")
def shots() -> Path:
    """The folder of the screenshots: COOKBOOK_SCREENSHOTS, or outputs/browser."""
    folder = Path(os.environ.get("COOKBOOK_SCREENSHOTS", ROOT / "outputs" / "browser"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    """JupyterLab with copies of the notebooks, whose runs go to a temporary folder.

    COOKBOOK_BROWSER_OUTPUTS names a folder with finished runs instead, so that a single test can run alone.
    """
    folder = tmp_path_factory.mktemp("lab")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        shutil.copyfile(path, folder / path.name)
    outputs = os.environ.get("COOKBOOK_BROWSER_OUTPUTS", folder / "outputs")
    _set_parameters(folder / "01_unet3d_brats.ipynb", f'\noutputs = "{outputs}"  # short{_SHORT}')
    _set_parameters(
        folder / "07_visual_qa.ipynb", f'\noutputs = "{outputs}"  # short\nreader = "reader one"  # short'
    )
    with start_lab(folder, outputs=Path(outputs)) as running:
        yield running


@pytest.fixture
def open_notebook(lab, chromium, tmp_path, shots):
    """Opens a notebook in its own browser: `with open_notebook(name) as page`."""
    import contextlib

    count = iter(range(100))

    @contextlib.contextmanager
    def go(name: str):
        with open_chromium(chromium, tmp_path / f"profile-{next(count)}") as watched:
            page = NotebookPage(watched, lab, shots)
            page.open(name)
            try:
                yield page
            except BaseException:
                page.shot(f"failed_{name.partition('.')[0]}")
                raise

    return go


def _set_parameters(path: Path, lines: str) -> None:
    notebook = nbformat.read(path, as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source += lines
    nbformat.write(notebook, path)
