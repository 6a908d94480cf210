"""Latency of a device by batch size: warmed up, with percentiles, its steps apart where the runtime tells them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from helpers.devices import Device
from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import read_yaml_mapping

_LEAST_CALLS, _MOST_CALLS = 5, 200
_STEPS = ("h2d_s", "execute_s", "d2h_s")
# A larger batch that takes no longer than this many times batch 1 was not run as one.
_SAME_LATENCY = 1.1


@dataclass(frozen=True)
class Latency:
    """Milliseconds a batch over timed calls, and samples a second: batch × chips / median.

    `h2d_ms`, `execute_ms` and `d2h_ms` are medians of copy to the device, execution and copy back, or None where the
    runtime does not tell them apart. `simulated`: all of these are a double's and mean nothing.
    """

    batch: int
    chips: int
    calls: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    samples_per_second: float
    h2d_ms: float | None = None
    execute_ms: float | None = None
    d2h_ms: float | None = None
    simulated: bool = False

    def to_json(self) -> dict:
        """As JSON values."""
        return asdict(self)


def measure_latency(
    device: Device, feeds: Mapping[str, np.ndarray], *, chips: int = 1, warm_up: int = 2, budget_s: float = 3.0
) -> Latency:
    """Calls a device one batch after the other.

    Args:
        device: opened.
        feeds: one batch; its first array's first axis counts samples.
        chips: that work on batches of this size at once.
        warm_up: calls that are not timed.
        budget_s: seconds to spend; at least 5 calls are timed and at most 200.
    """
    feeds = dict(feeds)
    for _ in range(warm_up):
        device.infer(feeds)
    _take_timings(device)
    seconds: list[float] = []
    while len(seconds) < _LEAST_CALLS or (sum(seconds) < budget_s and len(seconds) < _MOST_CALLS):
        start = time.perf_counter()
        device.infer(feeds)
        seconds.append(time.perf_counter() - start)
    p50, p90, p99 = (float(value) * 1e3 for value in np.quantile(seconds, [0.5, 0.9, 0.99]))
    batch = next(iter(feeds.values())).shape[0]
    steps = _steps_ms(_take_timings(device))
    rate, simulated = throughput(batch, p50, chips), bool(getattr(device, "simulated", False))
    return Latency(batch, chips, len(seconds), p50, p90, p99, rate, *steps, simulated=simulated)


def throughput(batch: int, latency_ms: float, chips: int = 1) -> float:
    """Samples a second: batch × chips / latency of one batch."""
    return batch * chips * 1e3 / latency_ms


def batches_run_as_one(latency_ms: Mapping[int, float]) -> list[int]:
    """Batch sizes whose latency equals that of batch 1: the model behind them was a batch-1 model."""
    single = latency_ms.get(1)
    if single is None:
        return []
    return [batch for batch, value in sorted(latency_ms.items()) if batch >= 4 and value <= _SAME_LATENCY * single]


def _take_timings(device: Device) -> list:
    take = getattr(device, "timings", None)  # not every device tells its steps
    return list(take()) if take is not None else []


def _steps_ms(timings: list) -> list[float | None]:
    medians: list[float | None] = []
    for step in _STEPS:
        known = [getattr(timing, step) for timing in timings if getattr(timing, step) is not None]
        medians.append(float(np.median(known)) * 1e3 if known else None)
    return medians


@dataclass(frozen=True)
class PublishedSpeed:
    """One published batch size. `right_fps` is batch / latency on one chip, None where no latency is printed or the
    batch was not run as one; `published_fps` is what the source computed from it.
    """

    batch: int
    latency_ms: float | None
    published_fps: float
    right_fps: float | None
    note: str

    @property
    def is_wrong(self) -> bool:
        """Whether the published figure is another than the latency gives (rounding apart)."""
        return self.right_fps is None or abs(self.published_fps / self.right_fps - 1) > 0.005


def published_speeds(recipe: str) -> list[PublishedSpeed]:
    """The rows of `latency_ms` in `params/published.yaml`, judged; empty where a source prints no latencies."""
    rows = read_yaml_mapping(PARAMS_FOLDER / "published.yaml").get(recipe, {}).get("latency_ms", [])
    as_one = batches_run_as_one({row["batch"]: row["value"] for row in rows})
    return [_judge(row["batch"], row["value"], row["published_fps"], row["batch"] in as_one) for row in rows]


def _judge(batch: int, latency_ms: float, published_fps: float, as_one: bool) -> PublishedSpeed:
    if as_one:
        note = "as long as batch 1: a batch-1 model, so the figure is void"
        return PublishedSpeed(batch, latency_ms, published_fps, None, note)
    right = throughput(batch, latency_ms)
    speed = PublishedSpeed(batch, latency_ms, published_fps, right, "")
    if not speed.is_wrong:
        return speed
    without_batch = abs(published_fps / throughput(1, latency_ms) - 1) < 0.005
    note = "1 / latency, the batch left out" if without_batch else "not batch / latency"
    return PublishedSpeed(batch, latency_ms, published_fps, right, note)
