"""Published speeds by batch size, computed again: what the sources print beside what their latencies say."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import read_yaml_mapping
from helpers.study.latency import batches_run_as_one, throughput


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
