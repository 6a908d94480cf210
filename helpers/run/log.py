"""One logger, `cookbook`: everything to the run's log, warnings to the terminal."""

from __future__ import annotations

import logging
from pathlib import Path


def attach_log_file(path: Path) -> None:
    """Sends the logger's records to a run's log file; the former run's file is let go."""
    logger = logging.getLogger("cookbook")
    logger.setLevel(logging.INFO)
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            logger.removeHandler(handler)
            handler.close()
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
