"""A notebook executed headless is small, holds no widgets, and has a picture in every section that does something."""

from __future__ import annotations

import json

import nbformat
import pytest

from helpers.cli.notebook_run import run_notebook

# Before it come the parameters and the start of the run.
FIRST_SECTION_WITH_A_PICTURE = 3
OPTIONAL_SECTION = 13  # the precision study, which is off by default
# Windows without overlap: this is about the notebook, not about its masks.
QUICK = {"tile_step_size": 1.0, "source_crops": 2, "minimum_scores": {}}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The run folder of the notebook with the most and the largest pictures: four volumes."""
    return run_notebook("unet3d_brats", {**QUICK, "outputs": str(tmp_path_factory.mktemp("outputs"))})


def sections(notebook) -> dict[int, list]:
    """The cells of each section, by its number."""
    found: dict[int, list] = {}
    number = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            number = int(cell.source.split()[1])
        found.setdefault(number, []).append(cell)
    return found


@pytest.mark.slow
@pytest.mark.notebook
class TestExecuted:
    def test_is_small(self, executed):
        assert (executed / "notebook.ipynb").stat().st_size <= 3_000_000

    def test_holds_no_widget(self, executed):
        content = json.loads((executed / "notebook.ipynb").read_text(encoding="utf-8"))
        assert "widgets" not in content["metadata"]
        assert "application/vnd.jupyter.widget" not in json.dumps(content)

    def test_every_section_has_a_picture(self, executed):
        by_number = sections(nbformat.read(executed / "notebook.ipynb", as_version=4))
        assert max(by_number) >= 13
        for number in {*range(FIRST_SECTION_WITH_A_PICTURE, max(by_number) + 1)} - {OPTIONAL_SECTION}:
            outputs = [out for cell in by_number[number] for out in cell.get("outputs", [])]
            assert any("image/png" in out.get("data", {}) for out in outputs), f"section {number}"

    def test_every_picture_is_small_and_the_report_below_a_megabyte_per_case(self, executed):
        pictures = list((executed / "figures").glob("*.png"))
        assert len(pictures) >= 16
        assert max(picture.stat().st_size for picture in pictures) <= 300_000
        assert (executed / "report.html").stat().st_size <= 4 * 1_000_000
