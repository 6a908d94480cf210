"""Official weights and data: `fetch` downloads and unpacks them, `verify` checks a data set before any work."""

from helpers.fetch.fetching import FetchedItem, FetchReport, fetch
from helpers.fetch.verify import VerifyReport, verify

__all__ = ["FetchReport", "FetchedItem", "VerifyReport", "fetch", "verify"]
