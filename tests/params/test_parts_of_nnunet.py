"""Both ways to name a part are checked in nnU-Net's recipes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from helpers.recipes.nnunet_family import NnunetParams


def test_both_ways_are_checked():
    params = NnunetParams(recipe="nnunet", part="2/3", num_parts=2, part_id=1)
    assert (params.part, params.part_id) == ("2/3", 1)
    for wrong in ({"part": "4/3"}, {"num_parts": 2, "part_id": 2}):
        with pytest.raises(ValidationError):
            NnunetParams(recipe="nnunet", **wrong)
