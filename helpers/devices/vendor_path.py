"""The way to a vendor's Python module, for a worker whose environment is kept free of ours."""

from __future__ import annotations

import os
from pathlib import Path

VENDOR_MODULES = {"ascend": "acl", "magicmind": "magicmind"}


def vendor_environment(runtime: str) -> dict[str, str]:
    """PYTHONPATH with the folders of this process's own that hold the runtime's module, and no others.

    CANN's set_env.sh puts `acl` on PYTHONPATH; whatever else is there belongs to this interpreter.
    """
    module = VENDOR_MODULES.get(runtime)
    folders = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    found = [folder for folder in folders if module and _holds(Path(folder), module)]
    return {"PYTHONPATH": os.pathsep.join(found)} if found else {}


def _holds(folder: Path, module: str) -> bool:
    if (folder / module).is_dir() or (folder / f"{module}.py").is_file():
        return True
    return any(folder.glob(f"{module}*.so"))
