"""`report.html`: one self-contained page per run, to open from disk, print and share."""

from helpers.report.page import write_report

__all__ = ["write_report"]
