"""netron in the notebook, opened by a click, so that "Run all" asks nothing of the network."""

from __future__ import annotations

from pathlib import Path

from helpers.view.presence import someone_is_there
from helpers.view.show import Shown


def offer_netron(model: Path, interactive: bool | None = None):
    """A button that opens the graph in netron on loopback, or a line that says why there is none.

    netron's page asks for consent once, and a build stops opening files 180 days after its date; the static
    picture of the graph needs neither.
    """
    if not someone_is_there(interactive):
        reason = "Headless run: the picture above shows the graph; open model.onnx in netron yourself to walk it."
        return Shown(f"<i>{reason}</i>", reason)
    import ipywidgets

    button = ipywidgets.Button(description="Open in netron", tooltip="asks for consent once, then shows the graph")
    output = ipywidgets.Output()

    def open_frame(_: object) -> None:
        import netron
        from IPython.display import IFrame, display

        # Port 0 lets the system choose: a fixed one is refused when the cell runs again.
        host, port = netron.start(str(model), address=("127.0.0.1", 0), browse=False)
        output.clear_output()
        with output:
            display(IFrame(f"http://{host}:{port}", width="100%", height=600))

    button.on_click(open_frame)
    return ipywidgets.VBox([button, output])
