"""Inference writes nothing: no window, no score, no temporary file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.inference import WindowPlan, as_predictor, infer_job

IO = Path("/proc/self/io")


def written_bytes() -> int:
    """Bytes of every write call of this process, to whatever it went."""
    return int(IO.read_text(encoding="utf-8").partition("wchar:")[2].split()[0])


@pytest.mark.skipif(not IO.is_file(), reason="written bytes are read from /proc (Linux)")
@pytest.mark.parametrize("target", [None, (80, 90, 70)])
def test_no_byte_is_written(target):
    plan = WindowPlan((16, 32, 32), 3, activation="softmax", target_shape=target, batch_size=2)
    image = np.random.default_rng(0).standard_normal((1, 40, 80, 80), dtype=np.float32)
    predictor = as_predictor(lambda batch: np.repeat(batch, 3, axis=1))
    infer_job(image, predictor, plan)  # what is compiled on first use is kept on disk
    before = written_bytes()
    infer_job(image, predictor, plan)
    assert written_bytes() == before
    Path("/dev/null").write_bytes(b"12345")
    assert written_bytes() == before + 5
