"""netron in the notebook, opened by a click, so that "Run all" asks nothing of the network."""

from __future__ import annotations

import datetime
import html
import importlib.util
import os
import re
from pathlib import Path
from urllib.parse import quote

from helpers.run.environment import package_version
from helpers.view.progress import is_interactive
from helpers.view.tables import Shown

LIFE_DAYS = 180


def describe_netron(today: datetime.date | None = None) -> str:
    """netron's age, counted from its build date, because a build stops opening files after 180 days."""
    spec = importlib.util.find_spec("netron")
    if spec is None or spec.origin is None:
        return "not installed"
    built = _build_date(Path(spec.origin).parent)
    if built is None:
        return f"{package_version('netron')}: build date not found"
    age = ((today or datetime.date.today()) - built).days
    left = LIFE_DAYS - age
    if left < 0:
        return f"built {built}, {age} days old: it no longer opens files; the static graph picture still does"
    return f"built {built}, {age} days old, opens files for {left} more days"


def _build_date(folder: Path) -> datetime.date | None:
    page = folder / "index.html"
    if not page.is_file():
        return None
    text = page.read_text(encoding="utf-8", errors="replace")
    match = re.search(r'name="date" content="(\d{4})-(\d{2})-(\d{2})', text)
    return datetime.date(int(match[1]), int(match[2]), int(match[3])) if match else None


# The server that shows a model in this kernel: opened again, the one before is closed.
_OPEN: dict[Path, tuple[str, int]] = {}


def offer_netron(model: Path, interactive: bool | None = None):
    """A button that opens the graph in netron, or a line that says why there is none.

    netron's page asks for consent once, and a build stops opening files 180 days after its date; the static
    picture of the graph needs neither.
    """
    if not is_interactive(interactive):
        reason = "Headless run: the picture above shows the graph; open model.onnx in netron yourself to walk it."
        return Shown(f"<i>{reason}</i>", reason)
    import ipywidgets

    button = ipywidgets.Button(description="Open in netron", tooltip="asks for consent once, then shows the graph")
    note = ipywidgets.HTML(f"<span style='color:#5b6675'>{html.escape(_note())}</span>")
    output = ipywidgets.Output()

    def open_frame(_: object) -> None:
        from IPython.display import IFrame, display

        address = frame_address(*_serve(model))
        output.clear_output()
        with output:
            display(IFrame(address, width="100%", height=600))

    button.on_click(open_frame)
    return ipywidgets.VBox([button, note, output])


def frame_address(host: str, port: int) -> str:
    """Where the reader's browser finds a server of this machine.

    Through JupyterLab's own address where jupyter-server-proxy is installed, which works from another machine too;
    else on loopback.
    """
    prefix = _proxy_prefix()
    return f"http://{host}:{port}" if prefix is None else f"{quote(prefix)}proxy/{port}/"


def _serve(model: Path) -> tuple[str, int]:
    import netron

    if model in _OPEN:
        netron.stop(_OPEN.pop(model))
    # Port 0 lets the system choose: a fixed one may be another program's.
    _OPEN[model] = netron.start(str(model), address=("127.0.0.1", 0), browse=False)
    return _OPEN[model]


def _note() -> str:
    parts = [
        "netron's page asks for consent once and then reports its use to its author;"
        f" a build opens files for {LIFE_DAYS} days after its date. This one: {describe_netron()}."
    ]
    if _proxy_prefix() is None:
        parts.append("JupyterLab on another machine: `pip install jupyter-server-proxy` there, then restart it.")
    return " ".join(parts)


def _proxy_prefix() -> str | None:
    """The base address of the server that started this kernel, or None where it has no proxy."""
    if importlib.util.find_spec("jupyter_server_proxy") is None:
        return None
    if "JUPYTERHUB_SERVICE_PREFIX" in os.environ:
        return os.environ["JUPYTERHUB_SERVICE_PREFIX"]
    from jupyter_server.serverapp import list_running_servers

    parents = {os.getppid(), int(os.environ.get("JPY_PARENT_PID", 0))}
    return next((server["base_url"] for server in list_running_servers() if server["pid"] in parents), None)
