"""Git tracks stripped notebooks and no image of a patient, whatever was saved in between."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
VOLUMES = (".nii", ".nii.gz", ".dcm", ".ima", ".mha", ".mhd", ".nrrd", ".npy", ".npz", ".h5", ".hdr", ".img")
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".bmp")
# Pictures of generated cases and of benchmarks, for the README.
PICTURE_FOLDERS = ("docs/images/", "benchmarks/results/")
# The only volumes: an average of 152 healthy adults under a permissive licence, which the demo cases are drawn on.
ANATOMY = "helpers/demo/anatomy"
ANATOMY_VOLUMES = {f"{ANATOMY}/{name}.nii.gz" for name in ("t1", "grey_matter", "white_matter")}
ANATOMY_MAX_BYTES = 6_000_000
RANDOM_MASKS = "tests/scoring/references/masks.npz"  # drawn by the script next to it


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no git repository: nothing is tracked")
    done = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def _leftovers(notebook: nbformat.NotebookNode) -> list[str]:
    """What a notebook in git must not hold: anything but sources, tags and the kernel's name."""
    found = [f"metadata {name}" for name in notebook.metadata if name not in ("kernelspec", "language_info")]
    for number, cell in enumerate(notebook.cells):
        names = [name for name in cell if name not in ("cell_type", "id", "metadata", "source")]
        found += [f"cell {number}: {name}" for name in names if cell[name]]
        found += [f"cell {number}: metadata {name}" for name in cell.metadata if name != "tags"]
    return found


def test_every_tracked_notebook_is_stripped(tracked):
    notebooks = [name for name in tracked if name.endswith(".ipynb")]
    assert len(notebooks) >= 6
    for name in notebooks:
        assert _leftovers(nbformat.read(ROOT / name, as_version=4)) == [], f"{name}: run `make clean-notebooks`"


def test_no_volume_and_no_stray_picture_is_tracked(tracked):
    assert {name for name in tracked if name.lower().endswith(VOLUMES)} <= {*ANATOMY_VOLUMES, RANDOM_MASKS}
    pictures = [name for name in tracked if name.lower().endswith(PICTURES)]
    assert not [name for name in pictures if not name.startswith(PICTURE_FOLDERS)]


def test_the_anatomy_is_small_and_carries_its_licence_and_digests(tracked):
    assert {f"{ANATOMY}/LICENSE", f"{ANATOMY}/README.md"} | ANATOMY_VOLUMES <= set(tracked)
    assert "provided that the above copyright notice appear in all copies" in " ".join(
        (ROOT / ANATOMY / "LICENSE").read_text(encoding="utf-8").split()
    )
    files = [ROOT / name for name in sorted(ANATOMY_VOLUMES)]
    assert sum(path.stat().st_size for path in files) <= ANATOMY_MAX_BYTES
    readme = (ROOT / ANATOMY / "README.md").read_text(encoding="utf-8")
    for path in files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert f"| `{path.name}` | {path.stat().st_size} | `{digest}` |" in readme


def test_outputs_and_data_are_ignored(tracked):
    assert [name for name in tracked if name.startswith("outputs/")] == ["outputs/README.md"]
    for name in ("outputs/unet3d_brats/demo-1/masks/a.nii.gz", "data/case/t1.nii.gz"):
        assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT).returncode == 0, name


VOXELS = "QUJDREVGR0g=" * 50


@pytest.fixture
def saved_notebook(tmp_path) -> Path:
    """A notebook as JupyterLab saves it after an interactive session, with voxels in four places."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python", "version": "3.11.7", "mimetype": "text/x-python"},
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {"a": {"buffers": [{"data": VOXELS}]}}}},
    }
    cell = nbformat.v4.new_code_cell("stages.open_case(recipe, run)", execution_count=7)
    cell.metadata = {"tags": ["parameters"], "execution": {"iopub.status.busy": "2026-01-01"}}
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": VOXELS})]
    screenshot = nbformat.v4.new_markdown_cell("A picture.", attachments={"a.png": {"image/png": VOXELS}})
    notebook.cells = [screenshot, cell]
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / "saved.ipynb"
    nbformat.write(notebook, path)
    return path


def _strip_as_make_does(path: Path) -> None:
    """Runs the recipe of `make clean-notebooks` in another folder."""
    shown = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "clean-notebooks"], cwd=ROOT, capture_output=True, text=True
    )
    command = re.search(r"-m nbstripout(?:.*\\\n)*.*", shown.stdout)
    assert command, shown.stdout + shown.stderr
    subprocess.run(f"{sys.executable} {command[0]}", shell=True, cwd=path.parents[1], check=True)


def test_a_saved_interactive_notebook_loses_its_voxels_and_nothing_else(saved_notebook):
    _strip_as_make_does(saved_notebook)
    text = saved_notebook.read_text(encoding="utf-8")
    assert VOXELS not in text and "widget" not in text and "2026-01-01" not in text and "3.11.7" not in text
    kept = nbformat.read(saved_notebook, as_version=4)
    assert [cell.source for cell in kept.cells] == ["A picture.", "stages.open_case(recipe, run)"]
    assert kept.cells[1].metadata == {"tags": ["parameters"]}  # papermill needs the tag
    assert kept.metadata["kernelspec"]["name"] == "python3"
    assert _leftovers(kept) == []


def test_a_notebook_that_is_not_stripped_is_found(saved_notebook):
    assert _leftovers(nbformat.read(saved_notebook, as_version=4)) == [
        "metadata widgets",
        "cell 0: attachments",
        "cell 1: execution_count",
        "cell 1: outputs",
        "cell 1: metadata execution",
    ]
