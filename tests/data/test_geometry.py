"""Two grids are the same within a header's rounding, and differences are named with both values."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.data.geometry import Geometry

GRID = Geometry((5, 6, 7), (2.0, 0.5, 0.7), (10.0, -20.0, 30.0), (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))


def test_a_grid_does_not_differ_from_itself():
    assert GRID.differences_from(GRID) == []


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("size_zyx", (5, 6, 8), "size (z, y, x) (5, 6, 7) against (5, 6, 8)"),
        ("spacing_mm_zyx", (2.0, 0.5, 0.75), "spacing (2, 0.5, 0.7) against (2, 0.5, 0.75) mm"),
        ("origin_mm_xyz", (10.0, -20.0, 31.0), "origin (10, -20, 30) against (10, -20, 31) mm"),
        ("direction", (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), "direction"),
        ("spacing_mm_zyx", (float("nan"), 0.5, 0.7), "spacing"),
    ],
)
def test_one_difference_is_named_with_both_values(field, value, said):
    (line,) = GRID.differences_from(dataclasses.replace(GRID, **{field: value}))
    assert said in line


def test_every_difference_is_named():
    assert len(GRID.differences_from(Geometry.identity((1, 2, 3)))) == 4


@given(st.floats(-9e-4, 9e-4), st.floats(-9e-4, 9e-4))
def test_the_rounding_of_a_header_is_not_a_difference(shift, stretch):
    near = dataclasses.replace(
        GRID, origin_mm_xyz=(10 + shift, -20.0, 30 - shift), spacing_mm_zyx=(2.0 + stretch, 0.5, 0.7)
    )
    assert GRID.differences_from(near) == []
    assert near.differences_from(GRID, tolerance_mm=1e-9) or (shift, stretch) == (0, 0) or abs(shift + stretch) < 1e-8


def test_identity_is_at_the_origin_along_the_axes():
    grid = Geometry.identity((2, 3, 4), (3.0, 2.0, 1.0))
    assert grid == Geometry((2, 3, 4), (3.0, 2.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def test_values_that_differ_late_are_shown_with_the_digits_that_differ():
    one = dataclasses.replace(Geometry.identity((2, 2, 2)), origin_mm_xyz=(178.0, -2.0, 0.0))
    other = dataclasses.replace(one, origin_mm_xyz=(178.0123, -2.0, 0.0))
    assert one.differences_from(other) == ["origin (178, -2, 0) against (178.01, -2, 0) mm"]
    tiny = dataclasses.replace(one, origin_mm_xyz=(178.002, -2.0, 0.0))
    assert one.differences_from(tiny) == ["origin (178, -2, 0) against (178.002, -2, 0) mm"]
