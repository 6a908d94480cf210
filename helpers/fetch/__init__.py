"""Official weights and data: `fetch` brings them, `verify` says whether a data set is whole before any work."""

from helpers.fetch.fetching import FetchedItem, FetchReport, fetch
from helpers.fetch.verify import VerifyReport, verify

__all__ = ["FetchReport", "FetchedItem", "VerifyReport", "fetch", "verify"]
