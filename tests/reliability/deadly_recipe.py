"""The tiny recipe with a hook for tests: reading a case may take long, or kill the process, by variables."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))

from tiny_recipe import RECIPE as TINY
from tiny_recipe import TinyCases

SLEEP, DEADLY = "COOKBOOK_TEST_SLEEP", "COOKBOOK_TEST_DEADLY"


class DeadlyCases(TinyCases):
    """As `TinyCases`."""

    def read_case(self, files, params):
        if os.environ.get(DEADLY) == files.id:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(os.environ.get(SLEEP, "0")))
        return super().read_case(files, params)


RECIPE = replace(TINY, name="deadly", cases=DeadlyCases())
