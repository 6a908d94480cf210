"""The reference's answers to the probe batches: computed once per checkpoint, and compared with every later form.

They are files of the export stage, so the cache finds them by the checkpoint, the graph's specification and the code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from helpers.graph.probe import Proof, full_window, open_at, probe_batch, probe_sample, prove_at, resize, session_call
from helpers.graph.read import load_graph, open_reference, relative_error
from helpers.graph.spec import GraphSpec
from helpers.graph.surgery import Rewrite, rewrite_in_place
from helpers.inference.scores import class_map_errors
from helpers.recipes.base import LoadedModel
from helpers.run import Check, Run

ANSWERS = "graph/answers.npz"


@dataclass(frozen=True)
class ReferenceAnswers:
    """The scores that the model with its weights gives, in torch.

    Attributes:
        runs_in: what computed them; for tables.
        window: sides of the windows of the probe batches.
        by_batch: batch size to scores (N, classes, *window) of `probe_batch`.
        sample: scores of `probe_sample`, on the full window.
    """

    runs_in: str
    window: tuple[int, ...]
    by_batch: Mapping[int, np.ndarray]
    sample: np.ndarray


def prove_export(
    loaded: LoadedModel, path: Path, spec: GraphSpec, windows: list[tuple[int, ...]], allowed: float
) -> tuple[Proof, dict[int, np.ndarray]]:
    """Compares an exported graph with its model on the first window that both take; also returns the answers.

    The model runs once, on the largest batch: a graph whose samples depend on one another differs at a smaller one.
    """
    answers: dict[int, np.ndarray] = {}

    def compare(window: tuple[int, ...]) -> Iterator[float]:
        answers.clear()
        run = open_at(path, spec, window)
        noise = probe_batch(spec, window, max(spec.batches_to_prove()))
        scores = loaded.scores(noise)
        for batch in spec.batches_to_prove():
            answers[batch] = scores[:batch]  # samples do not depend on one another, so the first ones are known
            yield _error(answers[batch], run(noise[:batch]))

    return prove_at(windows, spec.batches_to_prove(), allowed, compare), answers


def save_answers(folder: Path, answers: ReferenceAnswers) -> None:
    """Writes the answers into a stage's folder."""
    arrays: dict[str, Any] = {f"batch_{batch}": scores for batch, scores in answers.by_batch.items()}
    np.savez(folder / ANSWERS, window=answers.window, runs_in=answers.runs_in, sample=answers.sample, **arrays)


def read_answers(run: Run) -> ReferenceAnswers:
    """The answers that the export stage kept.

    Raises:
        StepOrderError: the run has no exported graph.
    """
    with np.load(run.require_file(ANSWERS), allow_pickle=False) as content:
        by_batch = {int(name[6:]): content[name] for name in content.files if name.startswith("batch_")}
        window = tuple(int(side) for side in content["window"])
        return ReferenceAnswers(str(content["runs_in"]), window, by_batch, content["sample"])


def check_against_answers(run: Run, graph: Path, spec: GraphSpec) -> list[Check]:
    """Compares a graph with the kept answers, with one check per batch size.

    A graph that does not take the small windows, because a rewrite wrote sizes into it, is compared on the full one.
    """
    answers = read_answers(run)
    small, full = answers.window, full_window(spec)
    batches = {size: (probe_batch(spec, small, size), want) for size, want in answers.by_batch.items()}
    sample = {len(answers.sample): (probe_sample(spec), answers.sample)}

    def compare(window: tuple[int, ...]) -> Iterator[float]:
        call = open_at(graph, spec, window)
        yield from (_error(want, call(batch)) for batch, want in (batches if window == small else sample).values())

    proof = prove_at([small] if small == full else [small, full], (), run.params.parity_tolerance, compare)
    proof = replace(proof, batches=tuple(batches if proof.window == small else sample))
    return check_errors(proof, answers.runs_in, run)


def prove_rewrites(
    answers: ReferenceAnswers, source: Path, rewrites: list[Rewrite], spec: GraphSpec
) -> tuple[Proof, int] | None:
    """Rewrites a graph for the windows of the kept answers, and compares it with them.

    Returns:
        The comparison, and how many nodes are rewritten at this size: if none is, there is nothing to compare.
        None if the graph does not take such windows, or an error is above the rewrites' tolerance.
    """
    allowed = max(rewrite.tolerance for rewrite in rewrites)
    try:
        model = load_graph(source)
        resize(model, answers.window)
        rows = rewrite_in_place(model, rewrites)
        if not rows:
            return Proof(answers.window, (), ()), 0
        with tempfile.TemporaryDirectory() as folder:
            onnx.save(model, str(Path(folder) / "graph.onnx"))
            del model  # the session reads the weights from the file
            call = session_call(open_reference(Path(folder) / "graph.onnx"))
        noises = {batch: probe_batch(spec, answers.window, batch) for batch in answers.by_batch}
        errors = tuple(_error(want, call(noises[batch])) for batch, want in answers.by_batch.items())
    except Exception:  # whatever a runtime raises for a size that a graph does not take
        return None
    return (Proof(answers.window, tuple(answers.by_batch), errors), len(rows)) if max(errors) <= allowed else None


def check_errors(proof: Proof, runs_in: str, run: Run) -> list[Check]:
    """One check per batch size of a comparison with the reference."""
    limit = run.params.parity_tolerance
    return [
        Check(f"ONNX Runtime against {runs_in}, batch {batch}", error <= limit, f"{error:.1e} of range")
        for batch, error in zip(proof.batches, proof.errors, strict=True)
    ]


def _error(scores: np.ndarray, actual: np.ndarray) -> float:
    """Maximum difference from the reference's scores, as a fraction of their range.

    A graph that ends in an ArgMax is judged by the scores before the ArgMax (`class_map_errors`).
    """
    if np.issubdtype(actual.dtype, np.integer):
        if actual.shape[1:] != (scores.shape[0], *scores.shape[2:]):
            return float("inf")
        return float(class_map_errors(scores, actual[0], max(np.ptp(scores), np.finfo(np.float32).tiny)).max())
    return relative_error(scores, actual)
