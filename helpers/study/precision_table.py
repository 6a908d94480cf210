"""The rows of a precision study: what is the same every time apart from what is timed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from helpers.study.precision_cells import Cell

# Largest change of the headline score, either way, by precision; None: reported, not judged.
LIMITS = {"f32": 1e-4, "f16_weights": 1e-4, "f16": 2e-3, "bf16": 2e-3}
_QUANTISED_LIMIT = 6e-3


def limit_of(precision: str) -> float:
    """Largest change of the headline score that a precision may cost."""
    return LIMITS.get(precision, _QUANTISED_LIMIT)


@dataclass(frozen=True)
class PrecisionRow:
    """One target and precision.

    Attributes:
        status: `made`, or `not run here` where the compiler is not on this machine.
        size_bytes: of the compiled files.
        error: largest difference of the scores from torch on windows of the cases, as a fraction of the range.
        window_flips, window_positions: labels that differ from torch's on these windows, of how many.
        scores: the recipe's scores over all cases.
        headline, change, interval: the mean of the headline scores, its change against the base, and the paired
            bootstrap interval (95 %) of that.
        changed_labels, labels: voxels or pixels of all masks that differ from the base's, of how many.
        degenerate: cases whose mask holds one label only while the truth holds more.
        put_back: layers put back to f32 by the search, beside those always kept.
        attempts: (layers put back, change) of each attempt of that search.
        metrics: nnU-Net's thirteen by label.
    """

    cell: Cell
    status: str
    size_bytes: int = 0
    error: float = math.nan
    window_flips: int = 0
    window_positions: int = 0
    scores: dict[str, float | None] = field(default_factory=dict)
    headline: float | None = None
    change: float | None = None
    interval: tuple[float, float] | None = None
    changed_labels: int = 0
    labels: int = 0
    degenerate: tuple[str, ...] = ()
    put_back: tuple[str, ...] = ()
    attempts: tuple[tuple[int, float | None], ...] = ()
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def passed(self) -> bool | None:
        """Whether the precision may be used; None where nothing was run or nothing could be scored."""
        if self.status != "made":
            return None
        if self.degenerate or not math.isfinite(self.error):
            return False
        return None if self.change is None else abs(self.change) <= limit_of(self.cell.precision)

    def to_json(self) -> dict:
        """As JSON; figures rounded to what every machine gives alike."""
        content = asdict(self) | {"limit": limit_of(self.cell.precision), "passed": self.passed}
        return _rounded(content)

    def cells(self) -> dict[str, str]:
        """The row as texts by column, for a table."""
        if self.status != "made":
            return {"target": self.cell.target, "precision": self.cell.precision, "gate": self.status}
        low, high = self.interval or (math.nan, math.nan)
        mark = {True: "✓", False: "✗", None: "–"}[self.passed]
        guard = f"one label only in {len(self.degenerate)}" if self.degenerate else "✓"
        return {
            "target": self.cell.target,
            "precision": self.cell.precision,
            "size MB": f"{self.size_bytes / 1e6:.2f}",
            "largest error": f"{self.error:.1e}",
            "flips": f"{self.changed_labels:,} of {self.labels:,}",
            "score": "–" if self.headline is None else f"{self.headline:.4f}",
            "change": "–" if self.change is None else f"{self.change:+.5f}",
            "95 % interval": "–" if self.interval is None else f"{low:+.5f} to {high:+.5f}",
            "masks": guard,
            "put back": str(len(self.put_back)) if self.put_back else "",
            "gate": f"{mark} {limit_of(self.cell.precision):g}",
        }


def table_columns(rows: Sequence[dict]) -> list[str]:
    """Every column that a row has, in the order of the fullest row."""
    return list(max(rows, key=len)) if rows else []


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return value
