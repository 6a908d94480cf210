"""The search for the layers that an int8 model keeps in float32."""

from __future__ import annotations

import pytest

from helpers.study.precision import search_fp32_layers

LAYERS = tuple(f"layer_{index}" for index in range(6))


def test_more_layers_are_put_back_until_the_score_holds():
    found = search_fp32_layers(lambda kept: -0.01 / (1 + len(kept)), LAYERS, limit=0.003, max_attempts=9)
    assert [attempt.fp32_layers for attempt in found] == [(), LAYERS[:1], LAYERS[:3]]
    assert found[-1].change == pytest.approx(-0.0025)


def test_the_number_of_attempts_is_limited():
    assert len(search_fp32_layers(lambda kept: -1.0, LAYERS, limit=0.003, max_attempts=2)) == 2


def test_the_last_attempt_has_every_layer_in_float32():
    found = search_fp32_layers(lambda kept: 1.0, LAYERS, limit=0.003, max_attempts=99)
    assert [len(attempt.fp32_layers) for attempt in found] == [0, 1, 3, 6]
