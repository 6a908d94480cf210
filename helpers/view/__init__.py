"""Pictures, tables and viewers: static ones in every run, interactive ones in an open notebook."""

from helpers.view.published import show_published
from helpers.view.tables import show_case_table
from helpers.view.viewer import volume

__all__ = ["show_case_table", "show_published", "volume"]
