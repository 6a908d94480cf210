"""Parameters of a recipe that does not exist, and its target."""

from __future__ import annotations

from typing import ClassVar

import pytest
from pydantic import Field

from helpers.errors import ParameterError
from helpers.params import RunParams, resolve_params


class LampParams(RunParams):
    step: float = Field(0.5, gt=0, le=1)
    window: list[int] = Field(default_factory=lambda: [8, 8, 8], min_length=3, max_length=3)
    DOC: ClassVar[str] = "not a field"


TARGET = """
title: A desk lamp
runtime: onnxruntime
opset_minimum: 10
opset_maximum: 13
precisions: [f32, f16]
batches: [1, 4, 8]
defaults: {precision: f16, batch_size: 8, opset: 12}
"""


def resolve(defaults=None, **given):
    return resolve_params(LampParams, "lamp", defaults or {}, given)


def refusal_of(defaults=None, **given) -> str:
    with pytest.raises(ParameterError) as caught:
        resolve(defaults, **given)
    assert caught.value.exit_code == 2
    return caught.value.line()
