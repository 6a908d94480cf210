"""One case among several in flight: what it reserves before it is read and before it is prepared, and its turns."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.devices.base import DeviceFault
from helpers.devices.in_turn import DeviceInTurn
from helpers.inference.budget import available_ram_bytes
from helpers.inference.predictor import DevicePredictor
from helpers.params.model import RunParams
from helpers.recipes.base import Recipe
from helpers.run.digest import files_below
from helpers.run.in_flight import InFlight, Place, cases_at_once


def open_flight(params: RunParams, n_cases: int) -> InFlight:
    """The cases of a run in flight, within four fifths of the memory that is free now."""
    return InFlight(cases_at_once(params.cases_in_flight, n_cases), available_ram_bytes() * 4 // 5)


def read_in_flight(recipe: Recipe, params: RunParams, files: CaseFiles, place: Place) -> Case:
    """Reads a case once it has memory, and reserves what its preparation and inference take."""
    place.reserve(bytes_to_read(files))
    case = recipe.cases.read_case(files, params)
    place.reserve(recipe.preparation.peak_bytes(case, params))
    return case


def segment_in_flight(
    recipe: Recipe, params: RunParams, case: Case, predictor: DevicePredictor, path: Path, place: Place
) -> np.ndarray:
    """Class indices of a case, whose calls of the device come in turn; as `Preparation.segment_and_save`."""
    segment = recipe.preparation.segment_and_save
    if predictor.torch_network is not None:  # the volume and its sums are in the device's own memory
        with place.alone():
            return segment(case, predictor, params, path)
    shared = predictor.through(lambda device: DeviceInTurn(device, place.take_turn))
    return segment(case, shared, params, path)


def is_last(error: Exception) -> bool:
    """Whether no other case can succeed after this error."""
    return isinstance(error, DeviceFault) and error.kind == "lost"


def bytes_to_read(files: CaseFiles) -> int:
    """What reading a case takes at most: voxels of one byte become float32, in addition to a copy of both."""
    return 10 * sum(_stored_bytes(path) for path in files.all_paths())


def _stored_bytes(path: Path) -> int:
    """The size of a file, or of its content: gzip ends with that, modulo 4 GiB."""
    if path.is_dir():
        return sum(_stored_bytes(child) for child in files_below(path))
    size = path.stat().st_size
    if path.suffix != ".gz" or size < 4:
        return size
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return max(size, int.from_bytes(file.read(4), "little"))
