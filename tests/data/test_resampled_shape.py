"""Sizes at another spacing."""

from __future__ import annotations

from helpers.data.nnunet.resample import resampled_shape


def test_an_axis_does_not_vanish():
    assert resampled_shape((1, 40, 40), (0.9, 1.2, 1.1), (2.0, 1.2, 1.1)) == (1, 40, 40)
