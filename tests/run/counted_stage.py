"""A stage that counts its calls, and readers of what it left in the run folder."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.run import Check, Run, StageOutput


class Stage:
    """Counts how often it is made rather than reused."""

    def __init__(self, text: str = "hello", checks: tuple[Check, ...] = (), names=("out/a.txt", "b.txt"), **made):
        self.text, self.names, self.calls = text, names, 0
        self.made = StageOutput(checks=checks, **made)

    def __call__(self, folder: Path) -> StageOutput:
        self.calls += 1
        for name in self.names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{self.text} {name}", encoding="utf-8")
        return self.made

    def perform(self, run: Run, stage: str = "work", **inputs):
        return run.perform(stage, "Some work", inputs=inputs, make=self)


def read_record(run: Run) -> dict:
    return json.loads(run.path("run.json").read_text(encoding="utf-8"))


def files_of(run: Run) -> set[str]:
    return {path.name for path in run.folder.rglob("*") if path.is_file()} - {"run.json", "run.log"}
