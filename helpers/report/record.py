"""What a report needs of a run, read back from its folder; nothing else of the run has to be there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from helpers.run import read_record

RUN_PICTURES = ("figures/seconds.png",)


@dataclass(frozen=True)
class RunFolder:
    """A run's record and scores as they stand in its folder."""

    folder: Path
    record: dict
    scores: dict[str, dict[str, float | None]]
    means: dict[str, float | None]

    @classmethod
    def read(cls, folder: Path) -> RunFolder:
        """Reads `run.json`.

        Raises:
            DataError: no run, or its record cannot be read.
        """
        record = read_record(folder)
        # From the record and not from metrics.json, which another attempt may have left.
        scored = record["stages"].get("score", {})
        values = scored.get("values", {}) if scored.get("status") in ("made", "reused") else {}
        return cls(folder, record, values.get("cases", {}), values.get("mean", {}))

    @property
    def stages(self) -> list[dict]:
        """The stages in the order they ended."""
        return sorted(self.record["stages"].values(), key=lambda stage: stage["ended"])

    def cases(self) -> list[str]:
        """Case ids: as the data stage lists them, else as masks were made of them."""
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
        """PNG files of the stages in order, then those of the whole run; only those that are there."""
        names = [name for stage in self.stages for name in stage.get("files", []) if name.endswith(".png")]
        return [name for name in dict.fromkeys([*names, *RUN_PICTURES]) if (self.folder / name).is_file()]
