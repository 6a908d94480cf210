"""A vendor's program gets the vendor's variables and none that lead to the packages of this process."""

from __future__ import annotations

import os
import sys

from helpers.params.paths import SOURCE_ROOT
from helpers.run.environment import scrubbed_environment


def test_removes_own_entries_and_keeps_the_order_of_the_others():
    ours = f"{sys.prefix}/lib/python3.11/site-packages"
    path = os.pathsep.join([f"{sys.prefix}/bin", "/usr/local/Ascend/bin", str(SOURCE_ROOT), "/usr/bin"])
    given = {
        "PATH": path,
        "PYTHONPATH": os.pathsep.join(
            [ours, "/opt/cann/python", str(SOURCE_ROOT), "", f"{SOURCE_ROOT}/tests/doubles"]
        ),
        "LD_LIBRARY_PATH": f"{sys.prefix}/lib",
        "VIRTUAL_ENV": sys.prefix,
        "PYTHONHOME": "/somewhere",
        "ASCEND_OPP_PATH": "/opt/cann/opp",
    }
    assert scrubbed_environment(given) == {
        "PATH": "/usr/local/Ascend/bin:/usr/bin",
        "PYTHONPATH": f"/opt/cann/python:{SOURCE_ROOT}/tests/doubles",
        "ASCEND_OPP_PATH": "/opt/cann/opp",
    }
    assert given["PATH"] == path


def test_starts_from_the_environment_of_this_process(monkeypatch):
    monkeypatch.setenv("ASCEND_HOME_PATH", "/opt/cann")
    assert scrubbed_environment()["ASCEND_HOME_PATH"] == "/opt/cann"
    assert "VIRTUAL_ENV" not in scrubbed_environment()
