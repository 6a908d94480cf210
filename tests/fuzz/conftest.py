"""The harness of the fuzz suite: seeded tries, a few in `make test` and as many as the time allows in `make fuzz`.

A test takes `tries` and loops over it; each try is a `random.Random` with a seed of its own. It runs twice: briefly,
and (marked `fuzz`) for its share of COOKBOOK_FUZZ_SECONDS. `tries.count(outcome)` feeds the table that ends pytest.
A failure names the seed; COOKBOOK_FUZZ_SEED repeats it as the first try.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator

import pytest

SECONDS = float(os.environ.get("COOKBOOK_FUZZ_SECONDS", "600"))
FIRST_SEED = int(os.environ.get("COOKBOOK_FUZZ_SEED", "0"))
SHORT_TRIES = 150

_TABLE = pytest.StashKey[dict[str, Counter[str]]]()


class Tries:
    """Seeded sources of randomness, until a number of tries or a time is reached; counts outcomes."""

    def __init__(self, limit: int | None, seconds: float):
        self.outcomes: Counter[str] = Counter()
        self.seed = FIRST_SEED
        self._limit, self._seconds = limit, seconds

    def __iter__(self) -> Iterator[random.Random]:
        started = time.monotonic()
        while self.outcomes["tries"] != self._limit and time.monotonic() - started < self._seconds:
            self.outcomes["tries"] += 1
            yield random.Random(self.seed)
            self.seed += 1

    def count(self, outcome: str) -> None:
        """Counts one outcome, such as "refused" or "accepted"."""
        self.outcomes[outcome] += 1


@pytest.fixture(params=["short", pytest.param("long", marks=pytest.mark.fuzz)])
def tries(request) -> Iterator[Tries]:
    if request.param == "short":
        made = Tries(SHORT_TRIES, seconds=20)
    else:
        long_tests = sum(item.get_closest_marker("fuzz") is not None for item in request.session.items)
        made = Tries(None, SECONDS / long_tests)
    try:
        yield made
    finally:
        if request.param == "long":
            request.config.stash.setdefault(_TABLE, {})[request.node.name] = made.outcomes


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    made = getattr(item, "funcargs", {}).get("tries")
    if made is not None and report.failed:
        report.sections.append(("fuzz", f"repeat with COOKBOOK_FUZZ_SEED={made.seed}"))
    return report


def pytest_terminal_summary(terminalreporter, config):
    table = config.stash.get(_TABLE, {})
    for name, outcomes in table.items():
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        terminalreporter.write_line(f"{name}: {counts}")
