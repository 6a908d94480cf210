"""A run is identified by the parameters that affect its results, and no others."""

from __future__ import annotations

import hashlib
import json

import pytest

from helpers.params import RunParams
from tests.params.lamp import resolve

pytestmark = pytest.mark.usefixtures("params_folder")


class TestHash:
    def test_it_is_stable(self):
        # A literal from nowhere but SHA-256 of the sorted JSON: it must not drift between processes or releases.
        params = resolve()
        content = {k: v for k, v in params.model_dump(mode="json").items() if k not in RunParams.NOT_HASHED}
        text = json.dumps(content, sort_keys=True)
        assert params.short_hash() == hashlib.sha256(text.encode()).hexdigest()[:8]

    @pytest.mark.parametrize("given", [{"outputs": "/somewhere"}, {"cache": False}, {"interactive": True}])
    def test_place_and_display_do_not_change_it(self, given):
        assert resolve(**given).short_hash() == resolve().short_hash()

    @pytest.mark.parametrize(
        "given",
        [{"batch_size": 1}, {"checkpoint": "x.pth"}, {"cases": ["a"]}, {"step": 0.25}, {"minimum_scores": {}}],
    )
    def test_what_affects_results_changes_it(self, given):
        assert resolve(**given).short_hash() != resolve().short_hash()

    def test_a_default_written_out_is_the_same_run(self):
        assert resolve(batch_size=4, step=0.5).short_hash() == resolve().short_hash()

    def test_a_whole_number_is_the_same_as_its_float(self):
        assert resolve(step=1).short_hash() == resolve(step=1.0).short_hash()
