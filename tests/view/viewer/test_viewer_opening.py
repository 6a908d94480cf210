"""Which viewer opens, and the reason given if it is not the best one."""

from __future__ import annotations

import sys

import pytest
from scenes import NAMES, grid, make_case

from helpers import view
from helpers.errors import ParameterError


def _open(viewer: str = "auto", interactive: bool | None = True):
    case = make_case()
    return view.volume(
        case["image"],
        case["truth"],
        case["prediction"],
        geometry=grid(case["image"].shape),
        class_names=NAMES,
        case_id="case 1",
        viewer=viewer,
        interactive=interactive,
    )


def _texts(widget) -> str:
    own = str(getattr(widget, "value", ""))
    return own + "".join(_texts(child) for child in getattr(widget, "children", ()))


def test_niivue_comes_first_with_the_slices_as_second_panel():
    assert list(_open().panels) == ["3-D", "slices"]


def test_without_niivue_the_slices_open_with_the_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    box = _open()
    assert list(box.panels) == ["slices"]
    assert "niivue does not work here" in _texts(box) and "ipyniivue" in _texts(box)


def test_without_widgets_a_static_picture_opens_with_both_reasons(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    monkeypatch.setattr("helpers.view.viewer.slices.SlicePanel.__init__", lambda *_: 1 / 0)
    shown = _open()
    html = shown._repr_html_()
    assert "niivue does not work here" in html and "slices does not work here" in html
    assert "data:image/png;base64," in html


def test_the_requested_viewer_opens():
    assert list(_open("slices").panels) == ["slices"]
    assert "data:image/png" in _open("static")._repr_html_()


def test_without_itkwidgets_the_reason_is_given_and_the_next_viewer_opens():
    box = _open("itkwidgets")
    assert list(box.panels) == ["3-D", "slices"]
    assert "itkwidgets does not work here: itkwidgets is not installed" in _texts(box)


@pytest.mark.parametrize("version", ["0.32.6", "0.32.4"])
def test_another_version_of_itkwidgets_is_refused_by_name(version, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    assert f"itkwidgets {version} is installed, 1.0a55 is needed" in _texts(_open("itkwidgets"))


def test_a_headless_run_gets_a_line_of_text(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert "Headless run" in repr(_open(interactive=None))


def test_an_unknown_viewer_is_refused():
    with pytest.raises(ParameterError, match="unknown viewer"):
        _open("vtk")
