"""The options of ATC as run parameters, also given as text."""

from __future__ import annotations

import pytest

from helpers import recipes
from helpers.errors import ParameterError


def resolve(**given):
    return recipes.load("unet_carvana").prepare_params(target="ascend310p3", precision="f16", **given)


def test_command_line_and_file_give_the_same_options():
    text = resolve(atc="{log: info, keep_f32: [a, 'OpType::Resize']}", batch_gears="4,1")
    given = resolve(atc={"log": "info", "keep_f32": ["a", "OpType::Resize"]}, batch_gears=[4, 1])
    assert text == given and text.short_hash() != resolve().short_hash()


@pytest.mark.parametrize(
    ("atc", "expected"),
    [
        ({"op_select_implmod": "high_precision"}, "Did you mean 'op_select_implmode'?"),
        ({"op_select_implmode": "high"}, "'high_precision'"),
        ({"precision_mode": "force_fp16", "precision_mode_v2": "fp16"}, "not both"),
        ({"optypelist_for_implmode": ["Resize"]}, "op_select_implmode as well as optypelist_for_implmode"),
        ({"extra": ["rm -rf"]}, "--name=value"),
        ({"soc_version": "310P3"}, "a name such as Ascend310P3"),
        ({"cann": "eight"}, "a release such as 8.0.RC1"),
        ({"dims_gears": [[1, 3, 8, 8]]}, "2 to 100 distinct shapes"),
        ({"dims_gears": [[1, 3, 8, 8], [1, 3, 8]]}, "of equal rank"),
        ({"timeout_s": 0}, "greater than 0"),
        ("{log: [", "a YAML or JSON mapping"),
    ],
)
def test_an_invalid_option_is_one_clear_error(atc, expected):
    with pytest.raises(ParameterError, match="atc") as refusal:
        resolve(atc=atc)
    assert expected in refusal.value.line() and "\n" not in refusal.value.line()


def test_gears_need_a_dynamic_batch():
    with pytest.raises(ParameterError, match="gears need a graph with a dynamic batch axis"):
        resolve(batch_gears=[1, 2], dynamic_batch=False)
