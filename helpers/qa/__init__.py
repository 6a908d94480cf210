"""Visual quality assurance: durable verdicts, flags that need no ground truth, masks corrected by hand."""

from helpers.qa.steps import (
    export_for_editing,
    export_review,
    import_corrected,
    open_desk,
    show_agreement,
    show_review,
    show_worst_pictures,
    start_review,
)

__all__ = [
    "export_for_editing",
    "export_review",
    "import_corrected",
    "open_desk",
    "show_agreement",
    "show_review",
    "show_worst_pictures",
    "start_review",
]
