"""Reads images and writes masks as the reader that a plan of nnU-Net names, with its order of axes and its spacing.

A case keeps the grid of its files; a reader that turns images first is described by the `Turn` that the preparation
makes and undoes. A picture is a volume of one slice.

Sources: MIC-DKFZ/nnUNet v2, nnunetv2/imageio (simpleitk, nibabel, natural_image and tif reader_writer).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from helpers.data.case import Case
from helpers.data.case_volumes import read_mask_volume
from helpers.data.files import volume_stem
from helpers.data.geometry import Geometry
from helpers.data.picture import open_picture
from helpers.data.volume import VOLUME_SUFFIXES, Volume, read_volume, write_volume
from helpers.errors import DataError, last_line
from helpers.run.atomic import atomic_path, write_json

if TYPE_CHECKING:
    from PIL import Image

PICTURES, STACKS = "NaturalImage2DIO", "Tiff3DIO"
_NIBABEL = ("NibabelIO", "NibabelIOWithReorient")
READERS = ("SimpleITKIO", "SimpleITKIOWithReorient", *_NIBABEL, PICTURES, STACKS)  # the first is the default
_SUFFIXES = {PICTURES: (".png", ".bmp", ".tif"), STACKS: (".tif", ".tiff")}
_PICTURE_FORMATS = {".png": "PNG", ".bmp": "BMP"}
_PICTURE_MODES = ("1", "L", "I;16", "I", "F", "RGB", "RGBA")
SIGHT = "sight"  # the note of a case with what its reader reports besides the voxels
_BETWEEN_PICTURES = 999.0  # the spacing of a picture's first axis: larger than any other, so it is never resampled


@dataclass(frozen=True)
class Turn:
    """An order of the spatial axes (Z, Y, X), and which of them are then reversed.

    >>> turn = Turn((0, 2, 1), (False, False, True))
    >>> turn.apply(np.arange(6).reshape(1, 2, 3)).tolist()
    [[[3, 0], [4, 1], [5, 2]]]
    >>> turn.undo(turn.apply(np.arange(6).reshape(1, 2, 3))).tolist()
    [[[0, 1, 2], [3, 4, 5]]]
    """

    axes: tuple[int, ...] = (0, 1, 2)
    reversed: tuple[bool, ...] = (False, False, False)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """A turned view of (..., Z, Y, X)."""
        leading = array.ndim - 3
        turned = array.transpose(*range(leading), *(axis + leading for axis in self.axes))
        return turned[self._steps]

    def undo(self, array: np.ndarray) -> np.ndarray:
        """A view of a turned array (..., Z, Y, X) as it was before."""
        leading = array.ndim - 3
        back = np.argsort(self.axes)
        return array[self._steps].transpose(*range(leading), *(int(axis) + leading for axis in back))

    def order(self, values: Sequence[float]) -> tuple[float, ...]:
        """Values per axis, such as a spacing, in the turned order."""
        return tuple(values[axis] for axis in self.axes)

    @property
    def _steps(self) -> Any:
        return (..., *(slice(None, None, -1 if is_reversed else None) for is_reversed in self.reversed))


UNTURNED = Turn()


@dataclass(frozen=True)
class Sight:
    """What a reader reports of an image besides its voxels.

    Attributes:
        spacing_mm: of the turned axes.
        turn: from the file's axes to the reader's.
        affine: of the file as nibabel reads it, RAS; None for other readers.
        reader: nnU-Net's name of the reader.
    """

    spacing_mm: tuple[float, ...]
    turn: Turn = UNTURNED
    affine: np.ndarray | None = None
    reader: str = READERS[0]


def sight_of_case(case: Case) -> Sight:
    """What the reader of a case reported; of a case without that note, the spacing of its grid."""
    noted = case.notes.get(SIGHT)
    return noted if isinstance(noted, Sight) else Sight(case.require_geometry().spacing_mm_zyx)


def check_reader(reader: str) -> None:
    """Refuses a reader that is not supported, by its name.

    Raises:
        DataError: as above.
    """
    if reader not in READERS:
        raise DataError(
            "the plan's image reader is not supported",
            received=reader,
            expected=", ".join(READERS),
            remedy="Convert the images to a format that one of these reads, and name it in plans.json.",
        )


def suffixes_of(reader: str) -> tuple[str, ...]:
    """The suffixes of the files that a reader reads; for volumes all that the cookbook reads."""
    return _SUFFIXES.get(reader, VOLUME_SUFFIXES)


def stem_of(name: str, reader: str) -> str | None:
    """The name of a reader's file without its suffix, in either case, or None if the reader does not read it.

    >>> stem_of("a_0000.PNG", "NaturalImage2DIO"), stem_of("a.nii.gz", "SimpleITKIO"), stem_of("a.png", "SimpleITKIO")
    ('a_0000', 'a', None)
    """
    if reader not in _SUFFIXES:
        return volume_stem(name)
    suffix = next((suffix for suffix in _SUFFIXES[reader] if name.lower().endswith(suffix)), None)
    return name[: -len(suffix)] if suffix else None


def mask_suffix(reader: str, file_ending: str) -> str:
    """The suffix of a mask: that of the model's images if it can be written, else .nii.gz."""
    writable = _SUFFIXES.get(reader, (".nii.gz", ".nii", ".nrrd", ".mha"))
    if file_ending in writable:
        return file_ending
    return writable[0]


def read_image(path: Path, reader: str = READERS[0], read: Callable[[Path], Volume] = read_volume) -> Volume:
    """Reads one file: voxels (C, Z, Y, X) in the file's own order of axes, and their grid.

    A picture has one channel, three (RGB) or four (with alpha), and a grid of 1 mm without a position.

    Args:
        path: a file, or for readers of volumes also a folder of DICOM files.
        reader: nnU-Net's name.
        read: reads a volume.

    Raises:
        DataError: the file is damaged, or not of the kind that the reader reads.
    """
    if reader == PICTURES:
        pixels = _read_picture(path)
        return Volume(pixels[:, None], _grid_of_file((1, *pixels.shape[1:])))
    if reader == STACKS:
        stack = _read_tiff(path)
        if stack.ndim != 3:
            raise DataError(f"{path} is not a stack of slices", received=stack.shape, expected="(Z, Y, X)")
        return Volume(np.ascontiguousarray(stack)[None], _grid_of_file(stack.shape, _tiff_spacing(path)))
    return read(path)


def sight_of(path: Path, reader: str, geometry: Geometry) -> Sight:
    """The spacing that a reader reports for an image, and how it turns the image.

    Args:
        path: of the first channel.
        reader: nnU-Net's name.
        geometry: of the file, from `read_image`.
    """
    spacing: tuple[float, ...] = geometry.spacing_mm_zyx
    turn, affine = UNTURNED, None
    if reader == PICTURES:
        spacing = (_BETWEEN_PICTURES, *spacing[1:])
    elif reader == "SimpleITKIOWithReorient":
        turn = _turn_of_itk(geometry)
    elif reader in _NIBABEL:
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine_lps()
        if path.name.lower().endswith((".nii", ".nii.gz")) and geometry.sheared is None:
            import nibabel

            image = cast(nibabel.Nifti1Image, nibabel.load(path))
            affine = np.asarray(image.affine)
            spacing = tuple(float(zoom) for zoom in image.header.get_zooms()[2::-1])
        turn = _turn_of_nibabel(affine) if reader == "NibabelIOWithReorient" else turn
    return Sight(turn.order(spacing), turn, affine, reader)


def write_mask(path: Path, classes: np.ndarray, case: Case) -> None:
    """Writes class indices (Z, Y, X) uint8 on the grid of their case, in the format of the suffix.

    A stack of TIFF slices gets its spacing in a `.json` next to it, as nnU-Net writes it.
    """
    reader, geometry = sight_of_case(case).reader, case.require_geometry()
    if reader == PICTURES:
        _write_picture(path, classes[0])
    elif reader == STACKS:
        _write_tiff(path, classes)
        write_json(path.with_suffix(".json"), {"spacing": list(geometry.spacing_mm_zyx)})
    else:
        write_volume(path, Volume(classes[None], geometry))


def read_mask(path: Path, case: Case) -> np.ndarray:
    """The values (Z, Y, X) of a mask of a case.

    Raises:
        DataError: the mask is not on the case's grid.
    """
    grid = case.require_geometry()
    mask = read_image(path, sight_of_case(case).reader, partial(read_mask_volume, grid=grid))
    differences = mask.geometry.differences_from(grid)
    if differences or len(mask.array) != 1:
        received = "; ".join(differences) or f"{len(mask.array)} channels"
        raise DataError(f"{path.name} is on another grid than its case", received=received)
    return mask.array[0]


def _grid_of_file(
    size_zyx: tuple[int, int, int], spacing_mm_zyx: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Geometry:
    """A grid of which the file says no position and no direction."""
    return replace(Geometry.identity(size_zyx, spacing_mm_zyx), is_patient=False)


def _turn_of_nibabel(affine: np.ndarray) -> Turn:
    """The turn to axes that lead to the right, the front and the head, x first, as nibabel's `as_reoriented` does."""
    from nibabel.orientations import io_orientation

    return _turn_to([(int(axis), sign < 0) for axis, sign in io_orientation(affine)])


def _turn_of_itk(geometry: Geometry) -> Turn:
    """As `_turn_of_nibabel`, by the rule of ITK's DICOMOrient."""
    import SimpleITK as sitk

    code = sitk.DICOMOrientImageFilter_GetOrientationFromDirectionCosines(geometry.direction)
    places = {"R": (0, False), "L": (0, True), "A": (1, False), "P": (1, True), "S": (2, False), "I": (2, True)}
    return _turn_to([places[letter] for letter in code])


def _turn_to(targets: Sequence[tuple[int, bool]]) -> Turn:
    """The turn that moves each axis x, y, z to its new place, reversed or not; arrays count their axes from z."""
    axes, is_reversed = [0, 1, 2], [False] * 3
    for axis, (target, flipped) in enumerate(targets):
        axes[2 - target], is_reversed[2 - target] = 2 - axis, flipped
    return Turn(tuple(axes), tuple(is_reversed))


def _read_picture(path: Path) -> np.ndarray:
    """Pixels (C, Y, X)."""
    if path.name.lower().endswith(".tif"):
        pixels = _read_tiff(path)
    else:
        with open_picture(path) as image:
            pixels = _pixels(path, image)
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4):
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if pixels.ndim != 2:
        raise DataError(f"{path} is not a picture", received=pixels.shape, expected="grey, RGB or RGB with alpha")
    return np.ascontiguousarray(pixels)[None]


def _pixels(path: Path, image: Image.Image) -> np.ndarray:
    if image.mode == "P" and image.palette is not None:
        image = image.convert(image.palette.mode)
    if image.mode not in _PICTURE_MODES:
        raise DataError(f"{path} is not a picture that nnU-Net reads", received=f"mode {image.mode}", expected="RGB")
    return np.asarray(image)


def _read_tiff(path: Path) -> np.ndarray:
    import tifffile

    if not path.is_file():
        raise DataError(f"{path} does not exist", remedy="Check data_root and the case ids.")
    try:
        values = np.asarray(tifffile.imread(path))
        if not values.size:
            raise ValueError("no pixels")
        return values
    except Exception as error:  # which error a damaged file raises depends on the damaged bytes
        raise DataError(f"{path} cannot be read as TIFF", received=last_line(error)) from None


def _tiff_spacing(path: Path) -> tuple[float, float, float]:
    """The spacing in `<case>.json` next to an image, or `<name>.json` next to a mask; 1 mm without one."""
    stem = path.name.removesuffix(path.suffix)
    found = [path.with_name(f"{name}.json") for name in (re.sub(r"_\d{4}$", "", stem), stem)]
    aside = next((candidate for candidate in found if candidate.is_file()), None)
    if aside is None:
        return (1.0, 1.0, 1.0)
    try:
        z, y, x = (float(value) for value in json.loads(aside.read_text(encoding="utf-8"))["spacing"])
    except (OSError, ValueError, OverflowError, KeyError, TypeError) as error:
        raise DataError(f"{aside} has no spacing", received=last_line(error), expected="three numbers") from None
    if min(z, y, x) <= 0:
        raise DataError(f"{aside} has a spacing that is not positive", received=(z, y, x))
    return z, y, x


def _write_picture(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    if path.suffix not in _PICTURE_FORMATS:
        _write_tiff(path, pixels)
        return
    image = Image.fromarray(np.ascontiguousarray(pixels, np.uint8))
    with atomic_path(path) as temporary:
        image.save(temporary, format=_PICTURE_FORMATS[path.suffix])


def _write_tiff(path: Path, values: np.ndarray) -> None:
    import tifffile

    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, np.ascontiguousarray(values, np.uint8), compression="zlib")
