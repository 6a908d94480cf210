"""itkwidgets, for those who have it working; docs/itkwidgets.md says where it was tried and what came of it."""

from __future__ import annotations

import numpy as np

from helpers.view.viewer.scene import ViewState, VolumeScene

_STABLE = "0.32.6"


class ViewerMissingError(Exception):
    """A viewer cannot work here; the message says why."""


class ItkPanel:
    """The itkwidgets view of a scene: image, prediction as labels, grey window; `widget` is what to show.

    Raises:
        ViewerMissingError: not installed, or beside versions in which its picture is known to stay empty.
    """

    def __init__(self, scene: VolumeScene, state: ViewState):
        explain_unfit_versions()
        import itk
        import itkwidgets

        self._scene = scene
        low, high = state.window
        self.widget = itkwidgets.view(
            image=_to_itk(itk, scene.image, scene),
            label_image=_to_itk(itk, np.ascontiguousarray(scene.labels("prediction", slice(None))), scene),
            vmin=low,
            vmax=high,
            label_image_blend=state.fill_opacity,
            ui_collapsed=True,
        )


def explain_unfit_versions() -> None:
    """Raises a ViewerMissingError that names what is installed and what itkwidgets needs."""
    from importlib.metadata import PackageNotFoundError, version

    import ipywidgets

    try:
        installed = version("itkwidgets")
    except PackageNotFoundError:
        raise ViewerMissingError(
            "itkwidgets is not installed here; requirements-itkwidgets.txt makes an environment of its own for it"
        ) from None
    if installed != _STABLE:
        raise ViewerMissingError(
            f"itkwidgets {installed} is installed, {_STABLE} is the one to try (docs/itkwidgets.md says how the"
            " others fail)"
        )
    if int(ipywidgets.__version__.split(".")[0]) >= 8:
        raise ViewerMissingError(
            f"itkwidgets {installed} needs ipywidgets 7 and the classic Notebook; here is ipywidgets"
            f" {ipywidgets.__version__}, for which it brings no front end"
        )


def _to_itk(itk, array: np.ndarray, scene: VolumeScene):
    image = itk.image_from_array(np.ascontiguousarray(array))
    image.SetSpacing([float(mm) for mm in scene.geometry.spacing_mm_zyx[::-1]])
    image.SetOrigin([float(mm) for mm in scene.geometry.origin_mm_xyz])
    image.SetDirection(itk.matrix_from_array(np.array(scene.geometry.direction, float).reshape(3, 3)))
    return image
