"""Pictures and tables: static ones always, interactive ones when someone is there."""

from helpers.view.tables import show_case_table, show_published
from helpers.view.viewer import volume

__all__ = ["show_case_table", "show_published", "volume"]
