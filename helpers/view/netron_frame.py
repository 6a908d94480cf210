"""netron in a notebook, opened by a click, so that "Run All Cells" makes no network request."""

from __future__ import annotations

import datetime
import html
import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from helpers.run.environment import package_version
from helpers.view.progress import is_interactive
from helpers.view.tables import RichText, note

if TYPE_CHECKING:
    import ipywidgets

LIFETIME_DAYS = 180
# JupyterHub's prefix is quoted already, with a user's @ as it is or as %40, so neither may be quoted again.
_IN_PATHS = "%/:@!$&'()*+,;=~"
_HEADLESS = "Headless run: the picture above shows the graph; open model.onnx in netron to explore it."

# Addresses of the servers of this kernel; opening a model again closes its previous server.
_SERVERS: dict[Path, tuple[str, int]] = {}


def describe_netron(today: datetime.date | None = None) -> str:
    """Describes the installed build by its age, because a build stops opening files 180 days after its date."""
    spec = importlib.util.find_spec("netron")
    if spec is None or spec.origin is None:
        return "not installed"
    built = _build_date(Path(spec.origin).parent)
    if built is None:
        return f"{package_version('netron')}: build date not found"
    age = ((today or datetime.date.today()) - built).days
    left = LIFETIME_DAYS - age
    if left < 0:
        return f"built {built}, {age} days old: it no longer opens files; the static picture of the graph remains"
    return f"built {built}, {age} days old, opens files for {left} more days"


def offer_netron(model: Path, interactive: bool | None = None) -> ipywidgets.VBox | RichText:
    """Offers a button that opens a graph in netron, or explains in one line why a headless run has none.

    netron's page asks for consent once, and a build stops opening files 180 days after its date. The static picture
    of the graph needs neither.
    """
    if not is_interactive(interactive):
        return note(_HEADLESS)
    import ipywidgets

    button = ipywidgets.Button(description="Open in netron", tooltip="asks for consent once, then shows the graph")
    hint = ipywidgets.HTML(f"<span style='color:#5b6675'>{html.escape(_hint())}</span>")
    output = ipywidgets.Output()

    def open_frame(_: object) -> None:
        from IPython.display import IFrame, display

        address = frame_address(*_serve(model))
        output.clear_output()
        with output:
            display(IFrame(address, width="100%", height=600))

    button.on_click(open_frame)
    return ipywidgets.VBox([button, hint, output])


def frame_address(host: str, port: int) -> str:
    """The address of a server on this machine, as the user's browser reaches it.

    With jupyter-server-proxy it is below JupyterLab's own address, which also works from another machine; without it,
    the address is on loopback.
    """
    prefix = _proxy_prefix()
    return f"http://{host}:{port}" if prefix is None else f"{quote(prefix, safe=_IN_PATHS)}proxy/{port}/"


def _build_date(folder: Path) -> datetime.date | None:
    page = folder / "index.html"
    if not page.is_file():
        return None
    text = page.read_text(encoding="utf-8", errors="replace")
    match = re.search(r'name="date" content="(\d{4})-(\d{2})-(\d{2})', text)
    return datetime.date(int(match[1]), int(match[2]), int(match[3])) if match else None


def _serve(model: Path) -> tuple[str, int]:
    import netron

    if model in _SERVERS:
        netron.stop(_SERVERS.pop(model))
    # Port 0 lets the system choose: a fixed port may belong to another program.
    _SERVERS[model] = netron.start(str(model), address=("127.0.0.1", 0), browse=False)
    return _SERVERS[model]


def _hint() -> str:
    parts = [
        "netron's page asks for consent once and then sends usage data to its author;"
        f" a build opens files for {LIFETIME_DAYS} days after its date. The installed one: {describe_netron()}."
    ]
    if _proxy_prefix() is None:
        parts.append(
            "If JupyterLab runs on another machine, install jupyter-server-proxy there"
            " (`pip install jupyter-server-proxy`) and restart it."
        )
    return " ".join(parts)


def _proxy_prefix() -> str | None:
    """The base address of the server that started this kernel; None if it has no proxy."""
    if importlib.util.find_spec("jupyter_server_proxy") is None:
        return None
    if "JUPYTERHUB_SERVICE_PREFIX" in os.environ:
        return os.environ["JUPYTERHUB_SERVICE_PREFIX"]
    from jupyter_server.serverapp import list_running_servers

    parents = {os.getppid(), int(os.environ.get("JPY_PARENT_PID", 0))}
    return next((server["base_url"] for server in list_running_servers() if server["pid"] in parents), None)
