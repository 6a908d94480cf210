"""itkwidgets as an optional viewer; docs/itkwidgets.md describes where it was tried and what happened."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from helpers.view.viewer.scene import ViewState, VolumeScene

_SUPPORTED_VERSION = "0.32.6"


class ViewerMissingError(Exception):
    """A viewer does not work in this environment; the message gives the reason."""


class ItkPanel:
    """The itkwidgets view of a scene: image, prediction, grey window; `widget` is what to display.

    Raises:
        ViewerMissingError: itkwidgets is not installed, or its picture is known to stay empty with these versions.
    """

    def __init__(self, scene: VolumeScene, state: ViewState):
        check_versions()
        import itk
        import itkwidgets

        low, high = state.window
        self.widget = itkwidgets.view(
            image=_to_itk(itk, scene.image, scene),
            label_image=_to_itk(itk, scene.labels("prediction", slice(None)), scene),
            vmin=low,
            vmax=high,
            label_image_blend=state.fill_opacity,
            ui_collapsed=True,
        )


def check_versions() -> None:
    """Checks that the installed versions can work together.

    Raises:
        ViewerMissingError: with what is installed and what itkwidgets needs.
    """
    from importlib.metadata import PackageNotFoundError, version

    import ipywidgets

    try:
        installed = version("itkwidgets")
    except PackageNotFoundError:
        raise ViewerMissingError(
            "itkwidgets is not installed; requirements-itkwidgets.txt creates a separate environment for it"
        ) from None
    if installed != _SUPPORTED_VERSION:
        raise ViewerMissingError(
            f"itkwidgets {installed} is installed; use {_SUPPORTED_VERSION} (docs/itkwidgets.md describes how other"
            " versions fail)"
        )
    if int(ipywidgets.__version__.split(".")[0]) >= 8:
        raise ViewerMissingError(
            f"itkwidgets {installed} needs ipywidgets 7 and the classic Notebook; it has no front end for the"
            f" installed ipywidgets {ipywidgets.__version__}"
        )


def _to_itk(itk: ModuleType, array: np.ndarray, scene: VolumeScene) -> Any:
    image = itk.image_from_array(np.ascontiguousarray(array))
    image.SetSpacing([float(mm) for mm in scene.geometry.spacing_mm_zyx[::-1]])
    image.SetOrigin([float(mm) for mm in scene.geometry.origin_mm_xyz])
    image.SetDirection(itk.matrix_from_array(np.array(scene.geometry.direction, float).reshape(3, 3)))
    return image
