"""Visual quality assurance: verdicts that last, flags that need no truth, masks corrected by hand."""

from helpers.qa.journal import Journal, read_verdicts

__all__ = ["Journal", "read_verdicts"]
