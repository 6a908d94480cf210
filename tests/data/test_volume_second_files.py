"""A header names its voxels' file in its own folder, and nothing else on the machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.data.volume import read_volume
from helpers.errors import DataError
from tests.data.small_volumes import voxels


def write_pair(folder: Path, suffix: str, name: str = "v.raw") -> Path:
    """A header that names `name`, and voxels in v.raw next to it."""
    if suffix == ".mhd":
        text = (
            f"NDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementSpacing = 1 1 1\nElementDataFile = {name}\n"
        )
    else:
        text = (
            "NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nspacings: 1 1 1\nendian: little\nencoding: raw\n"
            f"data file: {name}\n"
        )
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "v.raw").write_bytes(voxels().tobytes())
    (folder / f"v{suffix}").write_text(text, encoding="utf-8")
    return folder / f"v{suffix}"


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_the_file_next_to_the_header_is_read(tmp_path, suffix):
    for name in ("v.raw", "./v.raw"):
        assert np.array_equal(read_volume(write_pair(tmp_path, suffix, name)).array[0], voxels())


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize(
    "name",
    [
        *(
            "/etc/passwd",
            "../v.raw",
            "sub/../../v.raw",
            "v%03d.raw",
            "%s%s%s%n",
            "LIST",
            "LIST 2",
            "~/v.raw",
            "v.raw\x07",
        ),
        *("..", ".", "/", "sub\\v.raw", "missing.raw", "v.raw 1 4 1", "v" * 5000),
    ],
)
def test_any_other_name_is_refused(tmp_path, suffix, name):
    (tmp_path / "v.raw").write_bytes(voxels().tobytes())
    (tmp_path / "case" / "sub").mkdir(parents=True)
    path = write_pair(tmp_path / "case", suffix, name)
    with pytest.raises(DataError) as refusal:
        read_volume(path)
    assert str(path) in refusal.value.line()
    assert "ElementDataFile" in refusal.value.line() or "data file" in refusal.value.line()


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_link_that_leaves_the_folder_is_refused(tmp_path, suffix):
    path = write_pair(tmp_path / "case", suffix)
    (tmp_path / "secret").write_bytes(voxels().tobytes())
    (tmp_path / "case" / "v.raw").unlink()
    (tmp_path / "case" / "v.raw").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="leaves the folder"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_pair_behind_links_is_read(tmp_path, suffix):
    path = write_pair(tmp_path / "store", suffix)
    (tmp_path / "case").mkdir()
    for name in (path.name, "v.raw"):
        (tmp_path / "case" / name).symlink_to(tmp_path / "store" / name)
    (tmp_path / "linked").symlink_to(tmp_path / "store")
    for folder in ("case", "linked"):
        assert np.array_equal(read_volume(tmp_path / folder / path.name).array[0], voxels())


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_device_is_no_file_of_voxels(tmp_path, suffix):
    path = write_pair(tmp_path / "case", suffix)
    (tmp_path / "case" / "v.raw").unlink()
    (tmp_path / "case" / "v.raw").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="without its voxels"):
        read_volume(path)
