"""Whether someone sits in front of the notebook."""

from __future__ import annotations

import os


def someone_is_there(override: bool | None = None) -> bool:
    """True in a JupyterLab kernel, False under papermill; `override` (the parameter `interactive`) decides first.

    Jupyter sets JPY_SESSION_NAME for kernels that belong to an open notebook; headless runners do not.
    """
    return "JPY_SESSION_NAME" in os.environ if override is None else override
