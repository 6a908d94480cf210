"""Samples written for a tool keep their numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from helpers.inference import WindowPlan, infer_job
from helpers.interop.exchange import Exchange
from helpers.interop.ports import ModelPorts


def test_a_tools_outputs_are_found_whatever_memory_is_free(tmp_path, monkeypatch):
    ports, plan = (
        ModelPorts("x", "y", (1, 8, 8, 8), (2, 8, 8, 8)),
        WindowPlan((8, 8, 8), 2, mirror_axes=(0,), batch_size=4),
    )
    image = np.random.default_rng(0).standard_normal((1, 16, 16, 16)).astype(np.float32)
    exchange = Exchange(tmp_path, "ais_bench", ports)
    exchange.write([("c", image, plan)])
    (tmp_path / "output" / "run").mkdir(parents=True)
    for path in (tmp_path / "input").glob("*.bin"):
        sample = np.fromfile(path, "<f4")
        np.concatenate([sample, -sample]).tofile(tmp_path / "output" / "run" / f"{path.stem}_0.bin")
    before = infer_job(image, exchange.predictor("c"), plan)
    small = lambda image, plan, max_in_flight=0, limit_bytes=None: replace(plan, batch_size=2)  # noqa: E731
    monkeypatch.setattr("helpers.inference.job.fit_to_memory", small)
    np.testing.assert_array_equal(infer_job(image, exchange.predictor("c"), plan), before)
