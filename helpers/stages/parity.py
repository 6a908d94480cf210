"""Compares every form of a run's model, from torch to the device, on windows of the run's own cases."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from helpers.data.case import CaseFiles
from helpers.graph.probe import full_window, probe_sample, resized
from helpers.graph.read import load_graph, open_reference
from helpers.graph.surgery import AxiswiseInstanceNorm, rewrite_graph
from helpers.inference.predictor import DevicePredictor
from helpers.inference.scores import class_map_errors, lead_of_best, slab_to_labels
from helpers.recipes.base import Recipe
from helpers.run import Check, Run, StageOutput, StageResult
from helpers.run.digest import digest_file
from helpers.stages.answers import ANSWERS, ReferenceAnswers, read_answers
from helpers.stages.artifact import digest_compiled, running_precision
from helpers.stages.data import digest_case, example_input, selected_cases
from helpers.stages.graph import EXPORTED, FINAL, SIMPLIFIED
from helpers.stages.infer import open_predictor

# Maximum error of a device by precision, as a fraction of the range: rounding errors add up over a deep network.
# The other forms of the model always run in f32.
_DEVICE_TOLERANCE = {
    "f16": 5e-3,
    "f16_weights": 1e-2,
    "bf16": 4e-2,
    "int8": 0.3,
    "qint8_mixed_float16": 0.1,
    "qint8_mixed_float32": 0.1,
    "qint16_mixed_float16": 5e-3,
    "qint16_mixed_float32": 1e-3,
}
# A flip is clear if the best class led by more than this many times the tolerance.
_CLEAR = 10.0


@dataclass(frozen=True)
class Agreement:
    """The difference of one output from the reference, over all inputs.

    Errors are absolute differences as a fraction of the reference's range. A flip is a position whose best class
    differs. A flip is clear if the reference's best class led by more than the margin, also a fraction of the range:
    rounding cannot explain it.
    """

    name: str
    largest: float
    mean: float
    p999: float
    flips: int
    clear_flips: int
    positions: int


def check_parity(
    reference: Callable[[np.ndarray], np.ndarray],
    others: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    inputs: Sequence[np.ndarray],
    *,
    margin: float = 1e-3,
    region_threshold: float | None = None,
) -> list[Agreement]:
    """Compares each callable with the reference.

    Args:
        reference: maps (N, C, ...) float32 to scores (N, classes, ...).
        others: callables by name; they return scores as the reference does, or, if their graph ends in an ArgMax,
            classes (1, N, ...).
        inputs: batches to compare on.
        margin: lead of the best class, as a fraction of the range, above which a flip is clear.
        region_threshold: as `ModelSource.region_threshold`.
    """
    expected = [np.asarray(reference(batch)) for batch in inputs]
    return [
        _compare(name, expected, [np.asarray(call(batch)) for batch in inputs], margin, region_threshold)
        for name, call in others.items()
    ]


def _compare(
    name: str,
    expected: Sequence[np.ndarray],
    actual: Sequence[np.ndarray],
    margin: float,
    region_threshold: float | None,
) -> Agreement:
    if all(np.issubdtype(answer.dtype, np.integer) for answer in actual):
        return compare_class_maps(name, expected, actual, margin=margin)
    return compare_outputs(name, expected, actual, margin=margin, region_threshold=region_threshold)


def compare_outputs(
    name: str,
    expected: Sequence[np.ndarray],
    actual: Sequence[np.ndarray],
    *,
    margin: float = 1e-3,
    region_threshold: float | None = None,
) -> Agreement:
    """Compares outputs with the reference's; both lists hold (N, classes, ...) scores."""
    span = max(float(max(np.ptp(scores) for scores in expected)), float(np.finfo(np.float32).tiny))
    errors, flips, clear, positions = [], 0, 0, 0
    for want, got in zip(expected, actual, strict=True):
        if want.shape != got.shape:
            raise ValueError(f"{name} returned {got.shape}, the reference {want.shape}")
        error = np.abs(got.astype(np.float64) - want) / span
        # NaN compares false with every limit: it must count as the worst error, not as none.
        errors.append(np.where(np.isfinite(error), error, np.inf).ravel())
        for index in range(want.shape[0]):
            flipped, lead = _flips(want[index], got[index], region_threshold)
            flips += int(np.count_nonzero(flipped))
            clear += int(np.count_nonzero(flipped & (lead > margin * span)))
            positions += flipped.size
    every = np.concatenate(errors)
    return Agreement(
        name, float(every.max()), float(every.mean()), float(np.quantile(every, 0.999)), flips, clear, positions
    )


def _flips(want: np.ndarray, got: np.ndarray, region_threshold: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Where the label of one sample differs, and the reference's lead there; with regions, per region."""
    if region_threshold is None:
        return slab_to_labels(want) != slab_to_labels(got), lead_of_best(want)
    return (want > region_threshold) != (got > region_threshold), np.abs(want - region_threshold)


def compare_class_maps(
    name: str, expected: Sequence[np.ndarray], actual: Sequence[np.ndarray], *, margin: float = 1e-3
) -> Agreement:
    """Compares class maps, (1, N, ...) integers, with the reference's scores (N, classes, ...).

    The errors are those of `class_map_errors`.
    """
    span = max(float(max(np.ptp(scores) for scores in expected)), float(np.finfo(np.float32).tiny))
    errors = []
    for want, got in zip(expected, actual, strict=True):
        if got.shape != (1, want.shape[0], *want.shape[2:]):
            raise ValueError(f"{name} returned {got.shape}, expected {(1, want.shape[0], *want.shape[2:])}")
        errors.append(class_map_errors(want, got[0], span).ravel())
    every = np.concatenate(errors)
    return Agreement(
        name,
        float(every.max()),
        float(every.mean()),
        float(np.quantile(every, 0.999)),
        int(np.count_nonzero(every)),
        int(np.count_nonzero(2 * every > margin)),
        every.size,
    )


def check_model_parity(recipe: Recipe, run: Run) -> StageResult:
    """Compares every form of the model with the reference: exported, simplified, repaired, and on the device.

    The inputs are windows of real cases and noise. The device is compared on the full windows, the three graphs on
    their centres if the export was proven on smaller windows, as most graphs are (`helpers.graph.probe`).

    Raises:
        GateError: an error is above `parity_tolerance` of the range, or a label flips where the margin is clear.
    """
    cases = selected_cases(recipe, run)[:2]

    def make(folder: Path) -> StageOutput:
        inputs, answers = _inputs(recipe, run, cases), read_answers(run)
        expected, rows = _compare_graphs(recipe, run, inputs, answers)
        margin, threshold = _CLEAR * _tolerance(run, "device"), recipe.model.region_threshold(run.params)
        with open_predictor(recipe, run) as device:
            rows.append(_compare("device", expected, [device(batch) for batch in inputs], margin, threshold))
        checks = [check for row in rows for check in _judge(row, run, answers.runs_in)]
        facts = {row.name: _describe(row) for row in rows}
        values = {row.name: {**row.__dict__, "limit": _tolerance(run, row.name)} for row in rows}
        return StageOutput(tuple(checks), facts, values, "Segment the cases.", simulated=device.simulated)

    inputs = {
        "graphs": {name: digest_file(run.require_file(name)) for name in (EXPORTED, SIMPLIFIED, FINAL, ANSWERS)},
        "compiled": digest_compiled(run),
        "checkpoints": [digest_file(path) for path in recipe.model.checkpoint_paths(run.params)],
        "rules": recipe.model.cache_key_extras(run.params),
        "cases": {case.id: digest_case(case) for case in cases},
        "params": run.params.model_dump(mode="json", exclude={"profile", *run.params.NOT_HASHED}),
    }
    return run.perform(
        "parity",
        "Parity from torch to the device",
        inputs=inputs,
        make=make,
        code=(recipe.model, recipe.cases, recipe.preparation),
    )


def _compare_graphs(
    recipe: Recipe, run: Run, inputs: list[np.ndarray], answers: ReferenceAnswers
) -> tuple[list[np.ndarray], list[Agreement]]:
    """The reference's answers, and how well each graph agrees with them."""
    small = [_centre(batch, answers.window) for batch in inputs]
    margin, threshold = _CLEAR * _tolerance(run, "device"), recipe.model.region_threshold(run.params)
    expected, expected_small = _reference(recipe, run, inputs, small)
    rows = []
    for name, file in (("exported", EXPORTED), ("simplified", SIMPLIFIED), ("repaired", FINAL)):
        compare = partial(_compare, name, margin=margin, region_threshold=threshold)
        row = _try(compare, expected_small, recipe, run, file, small)
        if row is None or not all(check.passed for check in _judge(row, run, answers.runs_in)):
            row = compare(expected, _outputs(recipe, run, file, inputs))
        rows.append(row)
    return expected, rows


def check_device(recipe: Recipe, run: Run, opened: DevicePredictor | None = None) -> StageResult:
    """Compares the device with the kept answer of the reference on a full window of noise; needs no case.

    Args:
        recipe, run: of the compiled model.
        opened: the run's device, if it is open already.

    Raises:
        GateError: as `check_model_parity`.
    """

    def make(folder: Path) -> StageOutput:
        answers = read_answers(run)
        sample = probe_sample(recipe.model.graph_spec(run.params))
        margin, threshold = _CLEAR * _tolerance(run, "device"), recipe.model.region_threshold(run.params)
        with contextlib.nullcontext(opened) if opened else open_predictor(recipe, run) as device:
            row = _compare("device", [answers.sample], [device(sample)], margin, threshold)
        facts, values = {row.name: _describe(row)}, {**row.__dict__, "limit": _tolerance(run, row.name)}
        checks = tuple(_judge(row, run, answers.runs_in))
        return StageOutput(checks, facts, {row.name: values}, "Segment the cases.", simulated=device.simulated)

    inputs = {
        "answers": digest_file(run.require_file(ANSWERS)),
        "compiled": digest_compiled(run),
        "spec": recipe.model.graph_spec(run.params).__dict__,
        "tolerance": _tolerance(run, "device"),
        "threshold": recipe.model.region_threshold(run.params),
    }
    return run.perform("device", "Parity of the device", inputs=inputs, make=make, code=(recipe.model,))


def _tolerance(run: Run, form: str) -> float:
    precision = running_precision(run)
    if form == "device" and run.params.device_tolerance is not None:
        return run.params.device_tolerance
    if form != "device" or precision == "f32":
        return run.params.parity_tolerance
    return _DEVICE_TOLERANCE[precision]


def _describe(row: Agreement) -> str:
    return (
        f"max {row.largest:.1e}, mean {row.mean:.1e}, p99.9 {row.p999:.1e} of range;"
        f" {row.flips} of {row.positions:,} labels differ"
    )


def _judge(row: Agreement, run: Run, reference: str) -> list[Check]:
    limit, figure = _tolerance(run, row.name), f"max {row.largest:.1e} of range"
    if row.name == "device" and row.largest > limit:
        figure += f" (`cookbook bisect {run.params.recipe}` names the node; device_tolerance sets the limit)"
    return [
        Check(f"{reference} ↔ {row.name}", row.largest <= limit, f"{figure}, limit {limit:g}"),
        Check(f"{reference} ↔ {row.name}: clear label flips", row.clear_flips == 0, str(row.clear_flips)),
    ]


def _inputs(recipe: Recipe, run: Run, cases: Sequence[CaseFiles]) -> list[np.ndarray]:
    """A window of each case and one of noise, in batches of the size that the graph takes.

    There is no noise for an int8 model, which is calibrated with images and cannot be expected to reproduce noise.
    """
    samples = [example_input(recipe, run, files) for files in cases]
    noise = np.random.default_rng(0).standard_normal(samples[0].shape, dtype=np.float32)
    count = 1 if run.params.dynamic_batch else run.params.batch_size
    samples += [] if running_precision(run) == "int8" else [noise]
    batches = [np.repeat(sample[None], count, axis=0) for sample in samples]
    return [np.ascontiguousarray(batch, np.float32) for batch in batches]


def _reference(
    recipe: Recipe, run: Run, inputs: Sequence[np.ndarray], small: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The reference's scores of the full and of the small windows; those of the noise are known already."""
    reference, answers = recipe.model.load(run.params), read_answers(run)
    sample = probe_sample(recipe.model.graph_spec(run.params))

    def scores(batch: np.ndarray) -> np.ndarray:
        return answers.sample if np.array_equal(batch, sample) else reference.scores(batch)

    expected = [scores(batch) for batch in inputs]
    is_full = all(full.shape == cut.shape for full, cut in zip(inputs, small, strict=True))
    return expected, expected if is_full else [reference.scores(batch) for batch in small]


def _centre(batch: np.ndarray, window: Sequence[int]) -> np.ndarray:
    """The centre (N, C, *window) of a batch of larger windows."""
    starts = [(size - side) // 2 for size, side in zip(batch.shape[2:], window, strict=True)]
    box = tuple(slice(start, start + side) for start, side in zip(starts, window, strict=True))
    return np.ascontiguousarray(batch[(slice(None), slice(None), *box)])


def _try(
    compare: Callable[..., Agreement],
    expected: Sequence[np.ndarray],
    recipe: Recipe,
    run: Run,
    name: str,
    batches: Sequence[np.ndarray],
) -> Agreement | None:
    """The comparison on small windows; None if the graph does not take them, because sizes are written into it."""
    try:
        return compare(expected, _outputs(recipe, run, name, batches))
    except Exception:  # whatever the runtime raises for a size that a graph does not take
        return None


def _outputs(recipe: Recipe, run: Run, name: str, batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    spec, window = recipe.model.graph_spec(run.params), batches[0].shape[2:]
    model = load_graph(run.require_file(name))
    model = model if window == full_window(spec) else resized(model, window)
    # This check is about the graph, not about how ONNX Runtime sums a norm, so norms are summed axis by axis.
    session = open_reference(rewrite_graph(model, [AxiswiseInstanceNorm()])[0])
    source, target = session.get_inputs()[0].name, session.get_outputs()[0].name
    return [session.run([target], {source: batch})[0] for batch in batches]
