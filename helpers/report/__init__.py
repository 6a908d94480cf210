"""`report.html`: one self-contained page a run, to open from disk, print and hand on."""

from helpers.report.page import write_report

__all__ = ["write_report"]
