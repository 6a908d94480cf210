"""Visual quality assurance: verdicts that last, flags that need no truth, masks corrected by hand."""

from helpers.qa.case_table import show_review
from helpers.qa.case_view import show_worst_pictures
from helpers.qa.steps import export_review, open_desk, send_to_editor, start_review, take_back

__all__ = [
    "export_review",
    "open_desk",
    "send_to_editor",
    "show_review",
    "show_worst_pictures",
    "start_review",
    "take_back",
]
