"""The objects of a run: a case, the input of the network, the scores of each form of it, masks of other settings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from helpers.data.case import Case
from helpers.errors import ParameterError
from helpers.graph.read import open_reference
from helpers.params.model import RunParams
from helpers.params.yaml_file import explain_validation_error, unknown_name_error
from helpers.recipes.base import Recipe, Scores
from helpers.run import Run
from helpers.stages.data import pick_cases, selected_cases
from helpers.stages.infer import open_predictor

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Trial:
    """A mask of other settings.

    Attributes:
        mask: class indices on the case's grid, uint8.
        scores: of the mask, by name; empty if the case has no truth.
        seconds: that it took, without opening the device.
    """

    mask: np.ndarray
    scores: Scores
    seconds: float


def read_case(recipe: Recipe, run: Run, case_id: str | None = None) -> Case:
    """A case of the run with its image and its truth.

    Args:
        recipe, run: a run whose data were prepared.
        case_id: by default the first case.

    Raises:
        DataError: no case has this id; the nearest one is named.
    """
    cases = selected_cases(recipe, run)
    files = pick_cases(cases, [case_id])[0] if case_id else cases[0]
    return recipe.cases.read_case(files, run.params)


def prepared_sample(recipe: Recipe, run: Run, case: Case) -> np.ndarray:
    """What the network gets: one sample (C, ...) float32, of a volume a window around its truth."""
    return recipe.preparation.example_input(case, run.params)


def around_truth(case: Case, size: Sequence[int | None]) -> Case:
    """A part of a volume around the middle of its truth, so that an experiment takes a second and not a minute.

    Args:
        case: a photograph is returned as it is; without a truth the part is the middle of the volume.
        size: sides in voxels (Z, Y, X); None is the whole axis.
    """
    if case.geometry is None:
        return case
    marked, box = np.nonzero(truth_or_empty(case)), []
    for axis, (side, length) in enumerate(zip(size, case.image.shape[1:], strict=True)):
        side = length if side is None else min(side, length)
        middle = int(np.median(marked[axis])) if len(marked[axis]) else length // 2
        start = max(0, min(middle - side // 2, length - side))
        box.append(slice(start, start + side))
    part = tuple(box)
    image = np.ascontiguousarray(case.image[(slice(None), *part)])
    return replace(
        case,
        image=image,
        truth=None if case.truth is None else np.ascontiguousarray(case.truth[part]),
        previous=None if case.previous is None else np.ascontiguousarray(case.previous[part]),
        geometry=replace(case.geometry, size_zyx=image.shape[1:]),
        prediction=None,
    )


def truth_or_empty(case: Case) -> np.ndarray:
    """The truth of a case; background everywhere if it has none, so that a cell works on any data."""
    return np.zeros(case.image.shape[1:], np.uint8) if case.truth is None else case.truth


def torch_scores(recipe: Recipe, run: Run, sample: np.ndarray) -> np.ndarray:
    """The scores (classes, ...) of the reference, such as PyTorch, for one sample (C, ...)."""
    return recipe.model.load(run.params).scores(_batch(run, sample))[0]


def device_scores(recipe: Recipe, run: Run, sample: np.ndarray) -> np.ndarray:
    """The scores (classes, ...) of the run's device for one sample (C, ...); the class map (1, ...) of an ArgMax."""
    with open_predictor(recipe, run) as device:
        return device.submit(_batch(run, sample)).result()[0]


def graph_scores(model: onnx.ModelProto, sample: np.ndarray) -> np.ndarray:
    """The first output (...) of a graph in ONNX Runtime for one sample (C, ...)."""
    session = open_reference(model, optimise=True)
    first = session.get_inputs()[0]
    count = first.shape[0] if isinstance(first.shape[0], int) else 1
    return session.run(None, {first.name: np.repeat(sample[None], count, axis=0)})[0][0]


def round_weights(model: onnx.ModelProto, bits: int) -> onnx.ModelProto:
    """A copy of a graph whose float32 weights keep only some bits of their mantissa; the arithmetic stays float32.

    Args:
        model: any graph.
        bits: 1 to 24; float16 keeps 11, bfloat16 8.

    Raises:
        ParameterError: `bits` is out of range.

    >>> round_bits(np.array([1.2345678], np.float32), 8).tolist()
    [1.234375]
    """
    import onnx
    from onnx import numpy_helper

    if not 1 <= bits <= 24:
        raise ParameterError("bits is out of range", received=bits, expected="1 to 24")
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    for tensor in rounded.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = round_bits(numpy_helper.to_array(tensor), bits)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return rounded


def round_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """float32 values rounded to the nearest with so many bits of mantissa."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits).astype(np.float32)


def segment_with(
    recipe: Recipe, run: Run, case: Case, settings: Mapping[str, Mapping[str, object]]
) -> dict[str, Trial]:
    """Segments one case with other parameters on the run's device; nothing of the run changes.

    Args:
        recipe, run: a run whose model is compiled.
        case: for example a part of one, from `around_truth`.
        settings: for each trial the parameters that differ from the run's; only those that the compiled model does
            not depend on, such as `tile_step_size` and `mirror_axes`.

    Raises:
        ParameterError: a parameter is unknown or invalid, or the compiled model depends on it.
    """
    trials = {name: _changed(recipe, run, changes) for name, changes in settings.items()}
    made = {}
    with open_predictor(recipe, run) as device:
        for name, params in trials.items():
            started = time.perf_counter()
            mask = recipe.preparation.segment(case, device, params)
            seconds = time.perf_counter() - started
            scores = {} if case.truth is None else recipe.scoring.score(mask, case.truth, params)
            made[name] = Trial(mask, scores, seconds)
    return made


def _changed(recipe: Recipe, run: Run, changes: Mapping[str, object]) -> RunParams:
    known = type(run.params).model_fields
    for name in changes:
        if name not in known:
            raise unknown_name_error("parameter", name, known)
    try:
        params = type(run.params)(**{name: getattr(run.params, name) for name in known} | dict(changes))
    except ValidationError as error:
        raise explain_validation_error(
            error, type(run.params), where="a trial", places=dict.fromkeys(changes)
        ) from None
    for part in (recipe.model, recipe.preparation):
        part.check_params(params)
    if recipe.model.graph_spec(params) != recipe.model.graph_spec(run.params):
        raise ParameterError(
            "the compiled model depends on a parameter of this trial",
            received=", ".join(changes),
            remedy="Set it in the parameters cell, and run the cells from there on.",
        )
    return params


def _batch(run: Run, sample: np.ndarray) -> np.ndarray:
    count = 1 if run.params.dynamic_batch else run.params.batch_size
    return np.ascontiguousarray(np.repeat(sample[None], count, axis=0), np.float32)
