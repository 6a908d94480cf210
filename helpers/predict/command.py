"""One call of `cookbook predict`: from the names of a model and its cases to their masks."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.data.case import CaseFiles
from helpers.errors import CookbookError, DataError, ParameterError
from helpers.params.model import RunParams
from helpers.params.paths import create_output
from helpers.predict.inputs import open_input
from helpers.predict.masks import MaskMaker, Outcome, free_of_truth
from helpers.predict.model import NamedModel
from helpers.predict.proof import ProvenModel, find_or_prove, model_of_bundle
from helpers.predict.record import PredictRecord
from helpers.predict.scores import score_masks
from helpers.recipes.base import Recipe, Scores
from helpers.stages.data import choose_cases
from helpers.stages.dicom_seg import check_sources


class CasesFailedError(CookbookError):
    """Some cases have no mask; the others have."""


@dataclass(frozen=True)
class Request:
    """What to do.

    Attributes:
        source: folder, list or file of the cases.
        output: folder of the masks.
        given: parameters that the user gives.
        scores: whether masks are compared with the truth.
        stop: whether the first case that fails ends the work.
    """

    source: str
    output: str
    given: Mapping[str, Any]
    scores: bool = False
    stop: bool = False


def predict(model: NamedModel, request: Request) -> tuple[Outcome, Scores]:
    """Writes one mask per case into the output folder, and `predict.json` with what made each.

    Returns:
        What became of the cases, and the mean scores if they were asked for.

    Raises:
        CookbookError: a parameter or the model cannot be used (nothing is written then), a form of the model differs
            from the reference, or a case failed.
    """
    recipe = model.recipe
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_input(request.source))
        params = _resolve(recipe, {**model.given, **request.given, "data_root": str(source)})
        if params.engine != "local":
            raise ParameterError(
                "predict works in this process", received="engine ray", remedy="Use `cookbook run` with engine ray."
            )
        if recipe.model.previous_params(params) is not None:
            raise ParameterError(
                "a cascade's second stage needs the masks of its first",
                remedy=f"Use `cookbook run {recipe.name}`, or set prev_stage_predictions to a folder of these masks.",
            )
        cases = choose_cases(recipe.cases.list_cases(source, params), params)
        if not cases:
            raise DataError(f"no case in {request.source}")
        check_sources(recipe, params, recipe.labels(params), cases)
        output = _output_folder(request, source)
        proven = _proven(model, params, request, stack)
        if proven.note:
            sys.stderr.write(f"{proven.note}\n")
        about = {"recipe": recipe.name, "target": proven.manifest.target, "precision": proven.manifest.precision}
        record = PredictRecord.open(create_output(output), {**about, "digest": proven.digest})
        maker = MaskMaker(recipe, params, proven, record, request.stop)
        outcome = maker.make_all(cases if request.scores else list(free_of_truth(cases)))
        return outcome, _scores(recipe, params, cases, outcome, output) if request.scores else {}


def _resolve(recipe: Recipe, given: dict[str, Any]) -> RunParams:
    profiles = {path.stem for path in (recipe.params_folder / recipe.name).glob("*.yaml")}
    # The demo's profile says how the demo is run; on the user's cases the CPU's profile is the plain one.
    given.setdefault("profile", "cpu" if "cpu" in profiles else "demo")
    return recipe.prepare_params(**given)


def _proven(model: NamedModel, params: RunParams, request: Request, stack: contextlib.ExitStack) -> ProvenModel:
    if model.bundle is not None and "target" not in request.given and "precision" not in request.given:
        return model_of_bundle(model.bundle, params)
    if model.data_root is None:
        return find_or_prove(model.recipe, params, stack, is_calibrated=False)
    proof = params.model_copy(update={"data_root": model.data_root, "cases": [], "part": ""})
    return find_or_prove(model.recipe, proof, stack, is_calibrated=True)


def _output_folder(request: Request, source: Path) -> Path:
    output = Path(request.output).expanduser().resolve()
    if output == source.resolve() or output == Path(request.source).expanduser().resolve():
        raise ParameterError("OUTPUT is INPUT: masks would be taken for images", remedy="Name another folder.")
    if output.exists() and not output.is_dir():
        raise ParameterError(f"OUTPUT {output} is a file", expected="a folder")
    return output


def _scores(recipe: Recipe, params: RunParams, cases: list[CaseFiles], outcome: Outcome, folder: Path) -> Scores:
    done = {*outcome.made, *outcome.kept}
    return score_masks(recipe, params, [files for files in cases if files.id in done], folder)


def refuse_failures(outcome: Outcome) -> None:
    """Ends a call some of whose cases failed.

    Raises:
        CasesFailedError: with the number of cases and the first reason.
    """
    if outcome.failed:
        name, reason = next(iter(outcome.failed.items()))
        count = len(outcome.made) + len(outcome.kept) + len(outcome.failed)
        raise CasesFailedError(
            f"{len(outcome.failed)} of {count} cases have no mask",
            received=f"{', '.join(outcome.failed)}; {name}: {reason}",
        )
