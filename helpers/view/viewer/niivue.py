"""NiiVue in the browser: three linked planes and a rendering of the display proxy."""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers.data.geometry import Geometry
from helpers.view.proxy import proxy_geometry, shrink_image
from helpers.view.viewer.scene import ViewState, VolumeScene
from helpers.view.viewer.slices import colour_table, edges_of

_HEIGHT_PX = 620
_CROSSHAIR_RGBA = (1.0, 0.87, 0.34, 0.7)


class NiivuePanel:
    """The NiiVue canvas of a scene, which follows its state; `widget` is what to display.

    All masks are sent as one label volume for fills and one for outlines. A voxel's code stands for its label in
    every mode, so that a change of mode, opacity or visibility sends a few colours and no voxels. There are two
    volumes because NiiVue's label tables have no opacity, only volumes do.

    Raises:
        ImportError: ipyniivue is not installed.
    """

    def __init__(self, scene: VolumeScene, state: ViewState):
        from ipyniivue import MultiplanarType, NiiVue, ShowRender

        self._scene, self._state = scene, state
        grid = proxy_geometry(scene.geometry, scene.blocks)
        self._covered = [size * block for size, block in zip(grid.size_zyx, scene.blocks, strict=True)]
        self.widget = NiiVue(
            height=_HEIGHT_PX,
            is_radiological_convention=state.radiological,
            multiplanar_show_render=ShowRender.ALWAYS,
            multiplanar_layout=MultiplanarType.GRID,
            multiplanar_pad_pixels=6,
            crosshair_color=list(_CROSSHAIR_RGBA),
            crosshair_width=1.0,
            sagittal_nose_left=True,
        )
        self._load(grid)
        self._paint()
        self._set_opacities()
        self._move_crosshair()
        state.observe(self._paint, names=["mode", "hidden"])
        state.observe(self._set_opacities, names=["fill_opacity", "outline_opacity"])
        state.observe(self._move_crosshair, names="position")
        state.observe(self._set_window, names="window")
        state.observe(self._set_convention, names="radiological")
        self.widget.on_location_change(self._follow_click)

    def set_active(self, active: bool) -> None:
        """Shows or hides the canvas."""
        self.widget.layout.display = None if active else "none"

    def _load(self, grid: Geometry) -> None:
        layers = [self._scene.small_labels(mode) for mode in self._scene.modes]
        outlines = [np.where(edges_of(layer), layer, 0) for layer in layers]
        self._tables, volumes = [], [self._image_volume(grid)]
        for name, members in (("fill", layers), ("outline", outlines)):
            codes, table = combine_layers(members)
            self._tables.append(table)
            volumes.append({"data": nifti_bytes(codes, grid), "name": f"{name}.nii"})
        self.widget.load_volumes(volumes)

    def _image_volume(self, grid: Geometry) -> dict[str, object]:
        low, high = self._state.window
        data = nifti_bytes(shrink_image(self._scene.image, self._scene.blocks), grid)
        shown = {"colormap": "gray", "cal_min": low, "cal_max": high, "opacity": 1.0}
        return {"data": data, "name": "image.nii", **shown}

    def _paint(self, _: object = None) -> None:
        mode = self._state.mode
        colours = colour_table(self._scene, self._state, mode)
        for volume, table in zip(self.widget.volumes[1:], self._tables, strict=True):
            shown = colours[table[:, self._scene.modes.index(mode)]]
            red, green, blue, alpha = np.rint(255 * shown).astype(int).T.tolist()
            volume.set_colormap_label({"R": red, "G": green, "B": blue, "A": alpha, "I": list(range(len(table)))})

    def _set_opacities(self, _: object = None) -> None:
        _, fill, outline = self.widget.volumes
        fill.opacity, outline.opacity = self._state.fill_opacity, self._state.outline_opacity

    def _move_crosshair(self, _: object = None) -> None:
        z, y, x = ((at + 0.5) / covered for at, covered in zip(self._state.position, self._covered, strict=True))
        self.widget.scene.crosshair_pos = [1 - x, 1 - y, z]

    def _follow_click(self, location: dict[str, Any]) -> None:
        right, front, up = location["frac"][:3]
        found = [
            min(side - 1, max(0, int(fraction * covered)))
            for fraction, covered, side in zip(
                (up, 1 - front, 1 - right), self._covered, self._scene.image.shape, strict=True
            )
        ]
        now = self._state.position
        near = all(abs(one - other) < block for one, other, block in zip(found, now, self._scene.blocks, strict=True))
        if not near:  # a position set by the sliders comes back rounded to the proxy's voxels
            self._state.position = tuple(found)

    def _set_window(self, _: object) -> None:
        self.widget.volumes[0].cal_min, self.widget.volumes[0].cal_max = self._state.window

    def _set_convention(self, _: object) -> None:
        self.widget.set_radiological_convention(self._state.radiological)


def combine_layers(layers: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Combines label volumes into one whose codes stand for the labels of all of them.

    Args:
        layers: small non-negative integers of one shape.

    Returns:
        The codes, uint8 or int16 of the same shape, and a table (codes, layers) of the labels that each stands for.

    >>> codes, table = combine_layers([np.array([0, 1, 1]), np.array([0, 0, 2])])
    >>> codes.tolist(), table.tolist()
    ([0, 1, 2], [[0, 0], [1, 0], [1, 2]])
    """
    codes = np.zeros(layers[0].shape, np.int32)
    table = np.zeros((1, 0), np.int32)
    for layer in layers:
        base = int(layer.max()) + 1
        codes = codes * base + layer
        present = np.flatnonzero(np.bincount(codes.ravel(), minlength=1))
        compact = np.zeros(int(present[-1]) + 1, np.int32)
        compact[present] = np.arange(len(present))
        codes = compact[codes]
        table = np.concatenate([table[present // base], (present % base)[:, None]], axis=1)
    return codes.astype(np.uint8 if len(table) <= 256 else np.int16), table


def nifti_bytes(array: np.ndarray, geometry: Geometry) -> bytes:
    """Encodes a volume as an uncompressed NIfTI-1 file in RAS order (axes to the right, to the front and up).

    Args:
        array: (Z, Y, X); floats are stored as scaled 16-bit integers, more than a screen can show.
        geometry: of the array.
    """
    import nibabel

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine_lps()  # NIfTI's space is RAS
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(array.transpose(2, 1, 0), affine))
    if array.dtype.kind == "f":
        image.set_data_dtype(np.int16)
    return image.to_bytes()
