"""A case on the desk: the interactive view of a volume, the gallery of a photograph, the run's static pictures."""

from __future__ import annotations

import io

import ipywidgets

from helpers.qa.review import Review, ReviewCase, read_pair
from helpers.view import figures
from helpers.view.viewer import volume
from helpers.view.windows import load_window


def open_case_view(review: Review, case: ReviewCase, viewer: str = "auto") -> ipywidgets.Widget:
    """The case with its truth, this run's mask and the other run's.

    Raises:
        DataError: a file of the case is not readable any more.
    """
    run = review.run
    files = next(files for files in run.cases if files.id == case.id)
    read, mask, others = read_pair(run, review.other, files)
    if read.geometry is None:
        figure = figures.draw_gallery(case.id, read.image, mask, read.truth, run.labels.names, case.scores)
        return _picture(figure)
    pictures = run.recipe.picture_settings(run.params)
    shown = volume(
        read.image[pictures.channel],
        read.truth,
        mask,
        geometry=read.geometry,
        class_names=run.labels.names,
        other_run=others,
        case_id=case.id,
        window=load_window(pictures.grey_window).fixed_limits(),
        viewer=viewer,
        interactive=True,
    )
    return shown if isinstance(shown, ipywidgets.Widget) else ipywidgets.HTML(shown._repr_html_())


def close_view(widget: ipywidgets.Widget) -> None:
    """Closes a view with everything in it, so that its voxels leave the kernel and the page."""
    parts = [*getattr(widget, "children", ()), *getattr(widget, "volumes", ())]
    parts += [part for name in ("layout", "style") if (part := getattr(widget, name, None)) is not None]
    for part in parts:
        close_view(part)
    widget.close()


def show_worst_pictures(review: Review, most: int = 3) -> None:
    """Displays the pictures that the run drew of its worst cases, as static images."""
    from IPython.display import Image, display

    shown = 0
    for case in review.cases:
        pictures = sorted(review.run.path("figures").glob(f"*_{case.id}_*.png"))
        if pictures and shown < most:
            shown += 1
            for path in pictures:
                display(Image(filename=str(path)))


def _picture(figure) -> ipywidgets.Image:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, bbox_inches="tight")
    return ipywidgets.Image(value=stream.getvalue(), format="png", layout={"max_width": "100%"})
