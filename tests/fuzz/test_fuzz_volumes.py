"""Mutated volume files: refused by one line, or read on a usable grid; a damaged stream never gives other voxels."""

from __future__ import annotations

import functools
import gzip
import random
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import header_dtype

from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import CookbookError
from tests.data.dicom_files import write_series
from tests.data.small_volumes import DIRECTIONS, grid, voxels
from tests.fuzz.mutations import mutate

KINDS = (".nii", ".nii.gz", ".nii2", ".mha", "packed .mha", ".nrrd", "packed .nrrd", ".mhd", ".nhdr", ".dcm")


@functools.cache
def intact(kind: str) -> tuple[str, bytes, bytes]:
    """The suffix, the file (of two, the header) and its second file."""
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind == ".nii2":
            image = nibabel.Nifti2Image(voxels().transpose(2, 1, 0), np.diag([0.5, 0.75, 2.5, 1]))
            nibabel.save(image, folder / "v.nii")
            return ".nii", (folder / "v.nii").read_bytes(), b""
        suffix = kind.split()[-1]
        write_volume(folder / "v.nii.gz", Volume(voxels(), grid(DIRECTIONS["oblique"])))
        image = sitk.ReadImage(str(folder / "v.nii.gz"))
        if kind == ".dcm":
            series = write_series(folder / "series", count=1)
            return ".dcm", (series / "00.dcm").read_bytes(), b""
        path = folder / f"w{suffix}"
        sitk.WriteImage(image, str(path), useCompression="packed" in kind or kind == ".nii.gz")
        second = [found.read_bytes() for found in folder.glob("w.*") if found != path]
        return suffix, path.read_bytes(), second[0] if second else b""


def write(folder: Path, kind: str, content: bytes) -> Path:
    suffix, _, second = intact(kind)
    if kind in (".mhd", ".nhdr"):
        (folder / "w.raw").write_bytes(second)
    if kind == ".dcm":
        folder = folder / "series"
        folder.mkdir(exist_ok=True)
    (folder / f"w{suffix}").write_bytes(content)
    return folder if kind == ".dcm" else folder / f"w{suffix}"


def assert_usable(geometry: Geometry) -> None:
    affine = geometry.affine_lps()
    assert np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 0
    assert min(geometry.spacing_mm_zyx) > 0 and min(geometry.size_zyx) > 0


def outcome(path: Path) -> Volume | None:
    try:
        volume = read_volume(path)
    except CookbookError as refusal:
        line = refusal.line()
        assert path.name.split(".")[0] in line and "\n" not in line, line
        return None
    assert_usable(volume.geometry)
    assert volume.array.shape[1:] == volume.geometry.size_zyx
    return volume


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_volume_files(tries, tmp_path, kind):
    _, content, _ = intact(kind)
    header = {".dcm": len(content), "packed .mha": 300, "packed .nrrd": 300}.get(kind, 600)
    for source in tries:
        volume = outcome(write(tmp_path, kind, mutate(content, source, end=header)))
        tries.count("refused" if volume is None else "accepted")


@pytest.mark.parametrize("kind", ["packed .mha", ".nii.gz", "packed .nrrd"])
def test_mutated_streams_never_give_other_voxels(tries, tmp_path, kind):
    _, content, _ = intact(kind)
    expected = outcome(write(tmp_path, kind, content))
    assert expected is not None
    start = 0 if kind == ".nii.gz" else _end_of_text(content)
    for source in tries:
        changed = content[:start] + mutate(content[start:], source)
        volume = outcome(write(tmp_path, kind, changed))
        tries.count("refused" if volume is None else "accepted")
        assert volume is None or np.array_equal(volume.array, expected.array)


def _end_of_text(content: bytes) -> int:
    mark = b"ElementDataFile = LOCAL\n" if b"ElementDataFile" in content else b"\n\n"
    return content.index(mark) + len(mark)


def test_a_header_field_of_every_value_within_gzip(tries, tmp_path):
    """Mutations under an intact checksum: what a program that wrote nonsense would leave."""
    content = gzip.decompress(intact(".nii.gz")[1])
    for source in tries:
        changed = _overwrite_field(content, source)
        (tmp_path / "w.nii.gz").write_bytes(gzip.compress(changed, 1))
        volume = outcome(tmp_path / "w.nii.gz")
        tries.count("refused" if volume is None else "accepted")


def _overwrite_field(content: bytes, source: random.Random) -> bytes:
    """One field of the NIfTI header set to a special value."""
    fields = np.frombuffer(content[:348], header_dtype)[0].copy()
    name = source.choice([name for name in fields.dtype.names if fields.dtype[name].base.kind in "fiu"])
    kind = fields.dtype[name].base
    if kind.kind == "f":
        value = source.choice((0.0, -0.0, np.nan, np.inf, -np.inf, -1.0, 1e-45, 3e38, 1e-3, 0.999, 1.001, 352.5, 7.0))
    else:
        info = np.iinfo(kind)
        value = source.choice((0, 1, info.min, info.max, *(v for v in (-1, 2, 3, 4, 5, 8, 64, 255) if v >= info.min)))
        value = min(int(value), int(info.max))
    if fields.dtype[name].shape:
        fields[name][source.randrange(fields.dtype[name].shape[0])] = value
    else:
        fields[name] = value
    return fields.tobytes() + content[348:]
