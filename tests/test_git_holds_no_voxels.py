"""Git tracks stripped notebooks and no image of a patient, whatever was saved in between."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

from helpers.interop.strip_notebooks import main, strip_notebook

ROOT = Path(__file__).resolve().parents[1]
VOLUMES = (".nii", ".nii.gz", ".dcm", ".ima", ".mha", ".mhd", ".nrrd", ".npy", ".npz", ".h5", ".hdr", ".img")
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".bmp")
# Pictures of generated cases and of benchmarks, for the README.
PICTURE_FOLDERS = ("docs/images/", "benchmarks/results/")
# The only volumes: an average of 152 healthy adults under a permissive licence, which the demo cases are drawn on.
ANATOMY = "helpers/demo/anatomy"
ANATOMY_VOLUMES = {f"{ANATOMY}/{name}.nii.gz" for name in ("t1", "grey_matter", "white_matter")}
ANATOMY_MAX_BYTES = 6_000_000


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no git repository: nothing is tracked")
    done = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_tracked_notebook_is_stripped(tracked, tmp_path):
    notebooks = [name for name in tracked if name.endswith(".ipynb")]
    assert len(notebooks) >= 6
    for name in notebooks:
        copy = tmp_path / Path(name).name
        shutil.copy(ROOT / name, copy)
        assert not strip_notebook(copy), f"{name} holds outputs or widget state: run `make clean-notebooks`"


def test_no_volume_and_no_stray_picture_is_tracked(tracked):
    assert {name for name in tracked if name.lower().endswith(VOLUMES)} <= ANATOMY_VOLUMES
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


def test_a_saved_interactive_notebook_loses_its_voxels_and_nothing_else(tmp_path, capsys):
    voxels = "QUJDREVGR0g=" * 50
    notebook = nbformat.v4.new_notebook()
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python", "version": "3.11.7"},
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {"a": {"buffers": [{"data": voxels}]}}}},
    }
    cell = nbformat.v4.new_code_cell("stages.open_case(recipe, run)", execution_count=7)
    cell.metadata = {"tags": ["keep"], "execution": {"iopub.status.busy": "2026-01-01"}, "trusted": True}
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": voxels})]
    notebook.cells = [nbformat.v4.new_markdown_cell("Look.", attachments={"a.png": {"image/png": voxels}}), cell]
    path = tmp_path / "deep" / "saved.ipynb"
    path.parent.mkdir()
    nbformat.write(notebook, path)
    assert main([str(tmp_path)]) == 0 and "stripped" in capsys.readouterr().out
    text = path.read_text(encoding="utf-8")
    assert voxels not in text and "widget" not in text and "2026-01-01" not in text
    kept = nbformat.read(path, as_version=4)
    assert [cell.source for cell in kept.cells] == ["Look.", "stages.open_case(recipe, run)"]
    assert kept.cells[1].metadata == {"tags": ["keep"]}
    assert main([str(tmp_path)]) == 0 and capsys.readouterr().out == ""
