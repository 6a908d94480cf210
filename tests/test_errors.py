"""An error is one clear line."""

from __future__ import annotations

import pickle

import pytest

from helpers import errors
from helpers.errors import CookbookError, ParameterError


def test_the_line_has_every_part():
    error = CookbookError("the grid differs", received="(1, 2)", expected="(2, 1)", remedy="Resample it.")
    assert str(error) == error.line() == "the grid differs: received (1, 2), expected (2, 1). Resample it."


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({}, "a problem"),
        ({"received": 0}, "a problem: received 0"),
        ({"expected": [1]}, "a problem: expected [1]"),
        ({"remedy": "Do this."}, "a problem. Do this."),
        ({"expected": "x.", "remedy": "Do this."}, "a problem: expected x. Do this."),
        ({"received": "two\nlines\t here"}, "a problem: received two lines here"),
    ],
)
def test_parts_are_optional_and_line_breaks_are_removed(parts, line):
    assert CookbookError("a problem", **parts).line() == line


def test_ipython_shows_the_line_instead_of_a_traceback():
    error = ParameterError("a problem", remedy="Do this.")
    assert error._render_traceback_() == ["ParameterError: a problem. Do this."]


def test_every_error_is_a_cookbook_error_with_an_exit_code():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) >= 8
    assert all(issubclass(kind, CookbookError) and kind.exit_code in (1, 2) for kind in kinds)
    assert ParameterError.exit_code == 2


def test_an_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ParameterError("a problem", received=1, remedy="Do this.")))
    assert error.line() == "a problem: received 1. Do this."
