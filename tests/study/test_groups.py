"""Group plot: every case of every run, with outliers named and sites as colours."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image

from helpers import recipes
from helpers.cli import main
from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, write_volume
from helpers.errors import DataError, ParameterError
from helpers.study import groups
from helpers.study.compare_runs import choose_runs
from helpers.view import figures
from helpers.view.figures.canvas import IDENTIFYING, read_name_boxes
from helpers.view.palette import label_colour

SCORES = (
    {"a": 0.90, "b": 0.91, "c": 0.92, "d": 0.93, "odd": 0.20},
    {"a": 0.90, "b": 0.92, "c": 0.91, "d": 0.93, "odd": 0.92, "e": 0.94},
)
SHAPE = (2, 3, 4)


@pytest.fixture
def two(tmp_path):
    """Two passed runs of the heart recipe: a case with a low score in the first, a case more in the second."""
    data, recipe, outputs = tmp_path / "data", recipes.load("nnunet_heart"), tmp_path / "outputs"
    for folder in ("imagesTr", "labelsTr"):
        (data / folder).mkdir(parents=True)
        for name in SCORES[1]:
            write_volume(
                data / folder / f"la_{name}.nii.gz",
                Volume(np.ones((1, *SHAPE), np.float32), Geometry.identity(SHAPE)),
            )
    for index, scores in enumerate(SCORES):
        precision = ("f32", "bf16")[index]
        params = recipe.prepare_params(data_root=str(data), precision=precision, outputs=str(outputs))
        folder = outputs / "nnunet_heart" / f"demo-0000000{index}"
        (folder / "masks").mkdir(parents=True)
        for name in scores:
            write_volume(
                folder / "masks" / f"la_{name}.nii.gz",
                Volume(np.ones((1, *SHAPE), np.uint8), Geometry.identity(SHAPE)),
            )
        rows = {f"la_{name}": {"atrium": score} for name, score in scores.items()}
        (folder / "metrics.json").write_text(json.dumps({"cases": rows, "mean": {}}), encoding="utf-8")
        record = {
            "params": params.model_dump(mode="json"), "status": "passed", "reason": "", "started": float(index),
            "environment": {"machine": {}, "packages": {}}, "stages": {},
        }  # fmt: skip
        (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return choose_runs("nnunet_heart", None, str(outputs))


def _sites(folder: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("case", "site")) -> str:
    path = folder / "sites.csv"
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return str(path)


def _named(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(lambda artist: artist.get_gid() == IDENTIFYING)]


def test_every_case_of_every_run_is_in_a_strip_and_the_outlier_is_named(two):
    (strips,) = groups.group_strips(two).values()
    assert [len(strip.values) for strip in strips] == [5, 6]  # also the case that the first run lacks
    assert [strip.outliers for strip in strips] == [["la_odd"], []]
    assert _named(figures.draw_groups({"atrium": strips}, ["one", "two"])) == ["la_odd"]


def test_dots_are_coloured_by_run_or_by_site(two):
    charts, names = groups.group_strips(two), [run.name for run in two.runs]
    sites = {case: "north" if case in ("la_a", "la_e") else "south" for case in charts["atrium"][1].values}

    def colours(figure) -> list[list[str]]:
        return [[to_hex(c).upper() for c in dots.get_facecolors()] for dots in figure.axes[0].collections[::2]]

    first, second = label_colour(1), label_colour(2)
    one, two_ = colours(figures.draw_groups(charts, names))
    assert set(one) == {first} and set(two_) == {second}
    one, two_ = colours(figures.draw_groups(charts, names, sites))
    assert one == [first, *[second] * 4] and two_ == [first, *[second] * 4, first]


def test_names_keep_apart_and_stay_in_the_chart():
    values = {f"case {index}": 1.0 + index / 1e4 for index in range(20)}
    outliers = {f"low {index}": 0.1 + index / 1e5 for index in range(9)}
    figure = figures.draw_groups({"Dice": [figures.Strip({**values, **outliers}, sorted(outliers))]}, ["run"])
    figure.canvas.draw()
    (axis,) = figure.axes
    assert len(axis.texts) == 7 and "and 3 more" in [text.get_text() for text in axis.texts]
    boxes = sorted((box.y0, box.y1) for box in (Text.get_window_extent(text) for text in axis.texts))  # no arrows
    assert all(low[1] <= high[0] + 1 for low, high in pairwise(boxes))
    assert boxes[0][1] > axis.bbox.y0 and boxes[-1][0] < axis.bbox.y1


def test_runs_without_scores_say_so():
    figure = figures.draw_groups({}, ["one", "two"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["no score or metric: no case has a truth"]


def test_the_png_is_small_and_records_where_ids_are_printed(two, tmp_path):
    path = groups.save_groups(two, tmp_path / "groups.png")
    with Image.open(path) as picture:
        (box,) = read_name_boxes(picture.text)
        assert box[2] <= picture.width and box[3] <= picture.height
    assert path.stat().st_size < 180_000
    again = groups.save_groups(two, tmp_path / "again.png")
    assert again.read_bytes() == path.read_bytes()


def test_the_notebook_shows_it_with_a_text_that_names_no_case(two):
    shown = groups.plot_groups(two)
    assert shown.alt == (
        "scores and metrics of each case of demo-00000000, demo-00000001; outliers: atrium, demo-00000000: 1"
    )


def test_the_command_writes_it_and_refuses_what_it_cannot_draw(two, tmp_path, capsys):
    outputs = two.first.params.outputs
    picture = tmp_path / "new" / "groups.png"
    assert main(["compare", "nnunet_heart", "--outputs", outputs, "--plot", str(picture)]) == 0
    assert str(picture) in capsys.readouterr().out and picture.is_file()
    assert main(["compare", "nnunet_heart", "--outputs", outputs, "--plot", "groups.svg"]) == ParameterError.exit_code
    assert "expected a name in .png" in capsys.readouterr().err
    assert main(["compare", "nnunet_heart", "--outputs", outputs, "--sites", "x.csv"]) == ParameterError.exit_code
    assert "Add --plot" in capsys.readouterr().err


def test_sites_are_read_and_extra_cases_ignored(tmp_path):
    path = _sites(tmp_path, [("b", "south"), ("a", "north"), ("c", "south")])
    assert groups.read_sites(path, ["a", "b"]) == {"a": "north", "b": "south"}


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([("a", "north")], ("case", "site"), "lacks the site of 1 of 2 cases: received b"),
        ([("a", "north"), ("b", "")], ("case", "site"), "received the row b,"),
        ([("a", "north"), ("b", "x"), ("a", "south")], ("case", "site"), "case a at north and at south"),
        ([("a", "north"), ("b", "x")], ("id", "site"), "received the columns id, site"),
    ],
)
def test_a_list_of_sites_that_leaves_a_doubt_is_refused(tmp_path, rows, header, said):
    with pytest.raises(DataError, match=said):
        groups.read_sites(_sites(tmp_path, rows, header), ["a", "b"])
