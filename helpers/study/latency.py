"""Measures latency and throughput by batch size, and recomputes the speeds that the sources publish."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from helpers.devices import Device
from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import read_yaml_mapping

WARM_UP = 2
_MINIMUM_CALLS, _MAXIMUM_CALLS = 5, 200
# If a larger batch takes at most this many times as long as batch 1, a batch-1 model was timed.
_SAME_LATENCY = 1.1
_ROUNDING = 0.005


@dataclass(frozen=True)
class Latency:
    """The times of one batch size.

    Attributes:
        batch: samples per call.
        devices: number of devices that process such batches at the same time.
        calls: number of timed calls.
        p50_ms, p90_ms, p99_ms: quantiles of the time of one call.
        samples_per_second: batch × devices / median.
        h2d_ms, execute_ms, d2h_ms: medians of the copy to the device, the execution and the copy back; None if the
            runtime does not report them.
        simulated: whether a double of the vendor's runtime was timed, so that the times mean nothing.
    """

    batch: int
    devices: int
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
    device: Device,
    feeds: Mapping[str, np.ndarray],
    *,
    devices: int = 1,
    warm_up: int = WARM_UP,
    budget_s: float = 3.0,
) -> Latency:
    """Times calls of a device, one batch after the other.

    Args:
        device: an opened device.
        feeds: one batch by input name; the first axis of the first array counts samples.
        devices: number of devices that process batches of this size at the same time.
        warm_up: number of calls before timing starts.
        budget_s: time to spend; at least 5 and at most 200 calls are timed.
    """
    feeds = dict(feeds)
    for _ in range(warm_up):
        device.infer(feeds)
    device.timings()  # discards those of the warm-up
    seconds: list[float] = []
    while len(seconds) < _MINIMUM_CALLS or (sum(seconds) < budget_s and len(seconds) < _MAXIMUM_CALLS):
        start = time.perf_counter()
        device.infer(feeds)
        seconds.append(time.perf_counter() - start)
    p50, p90, p99 = (float(value) * 1e3 for value in np.quantile(seconds, [0.5, 0.9, 0.99]))
    batch = next(iter(feeds.values())).shape[0]
    timings = device.timings()
    quantiles = (len(seconds), p50, p90, p99, throughput(batch, p50, devices))
    return Latency(
        batch,
        devices,
        *quantiles,
        h2d_ms=_median_ms([timing.h2d_s for timing in timings]),
        execute_ms=_median_ms([timing.execute_s for timing in timings]),
        d2h_ms=_median_ms([timing.d2h_s for timing in timings]),
        simulated=device.simulated,
    )


def _median_ms(seconds: Sequence[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return float(np.median(known)) * 1e3 if known else None


def throughput(batch: int, latency_ms: float, devices: int = 1) -> float:
    """Samples per second: batch × devices / latency of one batch.

    >>> throughput(batch=4, latency_ms=250.0, devices=2)
    32.0
    """
    return batch * devices * 1e3 / latency_ms


def batches_run_as_one(latency_ms: Mapping[int, float]) -> list[int]:
    """Batch sizes with the same latency as batch 1, which means that a batch-1 model was timed.

    >>> batches_run_as_one({1: 92.9, 4: 252.5, 16: 93.1})
    [16]
    """
    single = latency_ms.get(1)
    if single is None:
        return []
    return [batch for batch, value in sorted(latency_ms.items()) if batch >= 4 and value <= _SAME_LATENCY * single]


@dataclass(frozen=True)
class PublishedSpeed:
    """The speed that a source publishes for one batch size.

    Attributes:
        batch: samples per call.
        latency_ms: published latency; None if there is none.
        published_fps: published samples per second.
        derived_fps: batch / latency on one device; None without a latency, or if a batch-1 model was timed.
        note: the error in the published figure, if any.
    """

    batch: int
    latency_ms: float | None
    published_fps: float
    derived_fps: float | None
    note: str

    @property
    def is_incorrect(self) -> bool:
        """Whether the published figure contradicts the latency by more than rounding."""
        return self.derived_fps is None or abs(self.published_fps / self.derived_fps - 1) > _ROUNDING


def published_speeds(recipe: str) -> list[PublishedSpeed]:
    """The rows of `latency_ms` in `params/published.yaml`, recomputed; empty if the source prints no latencies."""
    rows = read_yaml_mapping(PARAMS_FOLDER / "published.yaml").get(recipe, {}).get("latency_ms", [])
    as_one = batches_run_as_one({row["batch"]: row["value"] for row in rows})
    return [_judge(row["batch"], row["value"], row["published_fps"], row["batch"] in as_one) for row in rows]


def _judge(batch: int, latency_ms: float, published_fps: float, as_one: bool) -> PublishedSpeed:
    if as_one:
        note = "same latency as batch 1: a batch-1 model was timed, so the figure is void"
        return PublishedSpeed(batch, latency_ms, published_fps, None, note)
    derived = throughput(batch, latency_ms)
    speed = PublishedSpeed(batch, latency_ms, published_fps, derived, "")
    if not speed.is_incorrect:
        return speed
    without_batch = abs(published_fps / throughput(1, latency_ms) - 1) < _ROUNDING
    note = "1 / latency, without the batch size" if without_batch else "not batch / latency"
    return PublishedSpeed(batch, latency_ms, published_fps, derived, note)
