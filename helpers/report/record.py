"""The part of a run folder that a report needs: its record and its pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.run import read_record

RUN_PICTURES = ("figures/seconds.png",)


@dataclass(frozen=True)
class RunFolder:
    """The record and scores of a run.

    Attributes:
        record: the content of `run.json`.
        scores: case to score name to value; None if there is nothing to find.
        means: score name to mean.
        metrics: the surface and lesion metrics of volumes, as in `metrics.json`; empty if there are none.
    """

    folder: Path
    record: dict[str, Any]
    scores: dict[str, dict[str, float | None]]
    means: dict[str, float | None]
    metrics: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> RunFolder:
        """Reads a run folder.

        Raises:
            DataError: there is no run, or its record is damaged.
        """
        record = read_record(folder)
        # From the record: metrics.json may be left over from an earlier attempt.
        scored = record["stages"].get("score", {})
        values = scored.get("values", {}) if scored.get("status") in ("made", "reused") else {}
        return cls(folder, record, values.get("cases", {}), values.get("mean", {}), values.get("volume_metrics", {}))

    @property
    def stages(self) -> list[dict[str, Any]]:
        """The stages in the order in which they ended."""
        return sorted(self.record["stages"].values(), key=lambda stage: stage["ended"])

    def cases(self) -> list[str]:
        """Case ids: those of the data stage, or those with a mask if it is missing."""
        listed = self.record["stages"].get("data", {}).get("values", {}).get("cases")
        made = [stage["stage"].partition("/")[2] for stage in self.stages if stage["stage"].startswith("infer/")]
        return list(listed or made)

    def worst_first(self) -> list[str]:
        """Case ids by mean score, those without a score last."""

        def mean(case: str) -> tuple[bool, float]:
            known = [value for value in self.scores.get(case, {}).values() if value is not None]
            return (not known, sum(known) / len(known) if known else 0.0)

        return sorted(self.cases(), key=mean)

    def pictures(self) -> list[str]:
        """Existing PNG files: those of the stages in order, then those of the whole run."""
        names = [name for stage in self.stages for name in stage.get("files", []) if name.endswith(".png")]
        return [name for name in dict.fromkeys([*names, *RUN_PICTURES]) if (self.folder / name).is_file()]
