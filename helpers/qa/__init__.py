"""Visual quality assurance: verdicts that last, flags that need no truth, masks corrected by hand."""

from helpers.qa.case_table import show_review
from helpers.qa.case_view import show_worst_pictures
from helpers.qa.steps import export_for_editing, export_review, import_corrected, open_desk, start_review

__all__ = [
    "export_for_editing",
    "export_review",
    "import_corrected",
    "open_desk",
    "show_review",
    "show_worst_pictures",
    "start_review",
]
