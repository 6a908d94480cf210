"""Volumes of one voxel, of a few slices and thinner than any window; no case; a store that vanishes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError


def _data(folder: Path, **sizes: tuple[int, int, int]) -> str:
    folder.mkdir()
    for name, size in sizes.items():
        image = np.random.default_rng(0).normal(0.4, 0.3, (1, *size)).astype(np.float32)
        write_volume(folder / f"{name}_image.nii.gz", Volume(image, Geometry.identity(size)))
    return str(folder)


def test_the_smallest_volumes_get_masks_of_their_size(run_pipeline, tmp_path):
    whole = {"a": (24, 24, 24), "b": (24, 24, 24)}  # for the comparison with PyTorch
    sizes = {**whole, "one": (1, 1, 1), "slices": (3, 24, 24), "thin": (40, 1, 17)}
    done = run_pipeline(tmp_path / "out", data_root=_data(tmp_path / "data", **sizes), until="infer")
    found = {each.stage: each.status for each in done.made["infer"]}
    assert found == dict.fromkeys((f"infer/{name}" for name in sizes), "made")
    for name, size in sizes.items():
        mask = read_volume(done.run.path(f"masks/{name}.nii.gz")).array
        image = read_volume(tmp_path / "data" / f"{name}_image.nii.gz").array
        clear = np.abs(image - 0.5) > 0.05  # the network's second term is small
        assert mask.shape == (1, *size) and np.array_equal(mask[clear] > 0, image[clear] > 0.5) and clear.any()


def test_no_case_is_one_line_and_nothing_is_made(run_pipeline, tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="no case below"):
        run_pipeline(tmp_path / "out", data_root=str(tmp_path / "data"), until="data")


def test_a_store_that_another_process_deletes_costs_time_only(run_pipeline, tmp_path):
    given = {"data_root": _data(tmp_path / "data", a=(24, 24, 24), b=(24, 24, 24))}
    first = run_pipeline(tmp_path / "out", until="infer", **given)
    before = {path.name: path.read_bytes() for path in first.run.path("masks").iterdir()}
    shutil.rmtree(first.run.store.root)
    again = run_pipeline(tmp_path / "out", until="infer", **given)
    assert {path.name: path.read_bytes() for path in again.run.path("masks").iterdir()} == before
