"""Threads, small blocks and small slabs change no bit of the labels and scores."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from helpers.errors import DeviceError
from helpers.inference import accumulator, sliding, sliding_window
from helpers.inference.accumulator import OrderedWorkers
from tests.inference.dense_windows import slabs_of

CASES = [((9, 11, 13), (4, 6, 8)), ((3, 2, 5), (8, 6, 4)), ((23, 9, 9), (5, 5, 5)), ((6, 10, 12), (8, 8))]


def use_threads(monkeypatch):
    """Threads for windows and batches of any size."""
    monkeypatch.setattr(accumulator, "SMALL_BYTES", 0)
    monkeypatch.setattr(sliding, "SMALL_BYTES", 0)


def scores_of(batch: np.ndarray) -> np.ndarray:
    return np.stack([np.roll(batch[:, 0], index, -1) * (index + 1) for index in range(3)], axis=1)


def run(shape, window, **options):
    volume = np.random.default_rng(1).standard_normal((1, *shape), dtype=np.float32)
    parts = [slab.scores for slab in slabs_of(volume, scores_of, window, classes=3, **options)]
    return np.concatenate(parts, axis=1), sliding_window(volume, scores_of, window, classes=3, **options)


@pytest.mark.parametrize(("shape", "window"), CASES)
@pytest.mark.parametrize("options", [{}, {"mirror_axes": (0, 1)}, {"activation": "softmax", "batch_size": 5}])
@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_threads_and_blocks_change_no_bit(shape, window, options, block_bytes, monkeypatch):
    expected = run(shape, window, **options)
    use_threads(monkeypatch)
    monkeypatch.setattr(accumulator, "BAND_ROWS", 3 if block_bytes == 1 else 64)
    monkeypatch.setattr(accumulator, "BLOCK_COLUMNS", (1, 4) if block_bytes == 1 else (16, 96))
    monkeypatch.setattr(accumulator, "SLAB_BYTES", block_bytes)
    monkeypatch.setattr("helpers.inference.accumulator.usable_cores", lambda: 3)
    for found, wanted in zip(run(shape, window, **options), expected, strict=True):
        assert np.array_equal(found, wanted)


def test_an_error_in_a_thread_reaches_the_caller_and_ends_the_threads(monkeypatch):
    use_threads(monkeypatch)
    before = threading.active_count()
    with pytest.raises(DeviceError, match="not finite"):
        volume = np.zeros((1, 9, 9, 9), np.float32)
        sliding_window(volume, lambda batch: np.full((1, 3, 4, 4, 4), np.nan), (4, 4, 4), classes=3)
    assert threading.active_count() == before


def test_a_stream_closed_early_ends_its_threads(monkeypatch):
    use_threads(monkeypatch)
    before = threading.active_count()
    stream = slabs_of(np.zeros((1, 20, 9, 9), np.float32), scores_of, (4, 4, 4), classes=3)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_workers_keep_their_order_and_share_evenly():
    seen: list[int] = []
    with OrderedWorkers(2) as workers:
        work = [workers.submit(0, seen.append, index) for index in range(50)]
        [future.result() for future in work]
        assert workers.shares(5) == [(0, 0, 2), (1, 2, 5)]
        assert workers.shares(1) == [(1, 0, 1)]
    assert seen == list(range(50))
