"""The environment of a vendor's program: the vendor's own, without what leads to our packages."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from helpers.params.paths import PROJECT_ROOT

_OURS = ("PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYDEVD_DISABLE_FILE_VALIDATION")


def scrubbed_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's variables for a program of another Python.

    A vendor's set_env.sh puts its packages on PYTHONPATH and its programs on PATH, and its compiler starts the first
    `python3` that it finds: so entries of this project and of its virtual environment go and the others stay.
    """
    result = {name: value for name, value in (environment or os.environ).items() if name not in _OURS}
    for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH"):
        entries = [entry for entry in result.pop(name, "").split(os.pathsep) if entry and not _is_ours(Path(entry))]
        if entries:
            result[name] = os.pathsep.join(entries)
    return result


def _is_ours(entry: Path) -> bool:
    entry = Path(os.path.abspath(entry))
    in_venv = sys.prefix != sys.base_prefix and entry.is_relative_to(sys.prefix)
    return in_venv or entry == PROJECT_ROOT
