"""Official weights and data: `fetch` downloads and unpacks them, `verify` checks a data set before it is used."""

from helpers.fetch.fetching import FetchedItem, FetchReport, fetch
from helpers.fetch.verify import VerifyReport, verify

__all__ = ["FetchReport", "FetchedItem", "VerifyReport", "fetch", "verify"]
