"""`predict.json` next to the masks: what made each of them, so that a later call computes only what has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.run.atomic import write_json
from helpers.run.digest import digest_file

RECORD, FORMAT = "predict.json", 1


@dataclass
class PredictRecord:
    """The masks of an output folder.

    Attributes:
        folder: with the masks.
        model: as the user named it, with recipe, target and precision.
        cases: case id to the key of its mask, its files with their digests, and its seconds.
        failed: case id to the reason.
    """

    folder: Path
    model: Mapping[str, Any]
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, model: Mapping[str, Any]) -> PredictRecord:
        """The record of an output folder, with the masks that earlier calls wrote; a damaged one counts as empty."""
        try:
            content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            cases = dict(content["cases"]) if content["format"] == FORMAT else {}
        except (OSError, ValueError, KeyError, TypeError):
            cases = {}
        return cls(folder, model, cases)

    def holds(self, case_id: str, key: str) -> bool:
        """Whether the folder holds the unchanged results of a case that were made with this key."""
        found = self.cases.get(case_id, {})
        files = found.get("files") or {}
        if found.get("key") != key or not isinstance(files, dict):
            return False
        return bool(files) and all(
            Path(name).name == name and (self.folder / name).is_file() and digest_file(self.folder / name) == digest
            for name, digest in files.items()
        )

    def add(self, case_id: str, key: str, names: list[str], seconds: float) -> None:
        """Records the files of a case."""
        files = {name: digest_file(self.folder / name) for name in names}
        self.cases[case_id] = {"key": key, "files": files, "seconds": round(seconds, 3)}
        self.failed.pop(case_id, None)
        self.write()

    def write(self) -> None:
        """Writes the record."""
        content = {"format": FORMAT, "model": dict(self.model), "cases": self.cases, "failed": self.failed}
        write_json(self.folder / RECORD, content)
