"""One reader's word on one mask."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

from helpers.errors import DataError

ACCEPT, REJECT, UNSURE = "accept", "reject", "unsure"
VERDICTS = (ACCEPT, REJECT, UNSURE)
LONGEST_NOTE = 4000


@dataclass(frozen=True)
class Verdict:
    """What was judged, by whom and when.

    `run_hash` and `mask_hash` say what the word holds for: a rerun that makes the same mask keeps it, a mask that
    changed has to be looked at again.

    Attributes:
        when: UTC, ISO 8601 with milliseconds.
        who: the reader.
        recipe, run_hash: of the run, the hash over every parameter that decides its results.
        case: id.
        mask_hash: SHA-256 of the mask's file.
        verdict: one of `VERDICTS`.
        note: free text.
    """

    when: str
    who: str
    recipe: str
    run_hash: str
    case: str
    mask_hash: str
    verdict: str
    note: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise DataError("unknown verdict", received=repr(self.verdict), expected=", ".join(VERDICTS))
        if len(self.note) > LONGEST_NOTE:
            raise DataError(
                "the note is too long", received=len(self.note), expected=f"at most {LONGEST_NOTE} letters"
            )

    def subject(self) -> tuple[str, str, str, str]:
        """What the verdict is about: recipe, run, case and mask."""
        return self.recipe, self.run_hash, self.case, self.mask_hash

    def to_line(self) -> bytes:
        """One line of JSON with its line break; text of any script stays on that line."""
        return (json.dumps(asdict(self), ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape")

    @classmethod
    def from_line(cls, line: bytes) -> Verdict | None:
        """The verdict of a line, or None where the line is torn or no verdict."""
        try:
            content = json.loads(line)
            return cls(**{name: str(content[name]) for name in NAMES})
        except (ValueError, KeyError, TypeError, DataError):
            return None


NAMES = tuple(field.name for field in fields(Verdict))
