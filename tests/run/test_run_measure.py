"""Seconds per step and the peak of memory."""

from __future__ import annotations

import time

import numpy as np

from helpers.run.measure import Stopwatch, peak_memory


class TestMeasure:
    def test_repeated_steps_are_summed(self):
        watch = Stopwatch()
        for _ in range(2):
            with watch.time("read"):
                time.sleep(0.01)
        assert 0.02 <= watch.seconds["read"] < 2

    def test_the_peak_includes_memory_that_was_freed(self):
        with peak_memory(0.005) as small:
            time.sleep(0.03)
        with peak_memory(0.005) as large:
            block = np.ones(25_000_000)  # 200 MB
            time.sleep(0.05)
            del block
        assert large["peak_rss_mb"] > small["peak_rss_mb"] + 150
