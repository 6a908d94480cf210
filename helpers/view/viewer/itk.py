"""itkwidgets as an optional viewer; docs/itkwidgets.md describes where it was tried and what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from helpers.view.viewer.scene import ViewState, VolumeScene

if TYPE_CHECKING:
    from ngff_zarr import NgffImage

# The stable release, 0.32.6, needs ipywidgets 7 and has no front end for JupyterLab 4.
_SUPPORTED_VERSION = "1.0a55"
_REMEDY = 'install the extra: pip install -e ".[itkwidgets]"'


class ViewerMissingError(Exception):
    """A viewer does not work in this environment; the message gives the reason."""


class ItkPanel:
    """The itkwidgets view of a scene: image, prediction, grey window; `widget` is what to display.

    Its page loads the viewer from the internet; without it the page stays empty.

    Raises:
        ViewerMissingError: itkwidgets is not installed, or not in the version that works with JupyterLab 4.
    """

    def __init__(self, scene: VolumeScene, state: ViewState):
        check_versions()
        import itkwidgets

        low, high = state.window
        image = np.clip(scene.image, low, high)  # the viewer spreads its grey values over the whole range
        self.widget = itkwidgets.view(
            image=_to_ngff(image, scene),
            label_image=_to_ngff(scene.labels("prediction", slice(None)), scene),
            label_blend=state.fill_opacity,
            ui_collapsed=True,
        )


def check_versions() -> None:
    """Checks that the installed itkwidgets is the supported one.

    Raises:
        ViewerMissingError: with what is installed and how to install the supported version.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("itkwidgets")
    except PackageNotFoundError:
        raise ViewerMissingError(f"itkwidgets is not installed; {_REMEDY}") from None
    if installed != _SUPPORTED_VERSION:
        raise ViewerMissingError(f"itkwidgets {installed} is installed, {_SUPPORTED_VERSION} is needed; {_REMEDY}")


def _to_ngff(array: np.ndarray, scene: VolumeScene) -> NgffImage:
    from ngff_zarr import to_ngff_image

    spacing_mm = dict(zip("zyx", map(float, scene.geometry.spacing_mm_zyx), strict=True))
    origin_mm = dict(zip("xyz", map(float, scene.geometry.origin_mm_xyz), strict=True))
    return to_ngff_image(np.ascontiguousarray(array), dims=list("zyx"), scale=spacing_mm, translation=origin_mm)
