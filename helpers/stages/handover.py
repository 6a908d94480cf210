"""The steps of a hand-over that need the cookbook: pack a bundle, compile its graph, turn its outputs into masks."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from helpers import recipes
from helpers.data.case import Case, CaseFiles
from helpers.errors import CompileError, DataError, ParameterError
from helpers.graph.spec import GraphSpec
from helpers.interop.bundle import GRAPH, MANIFEST, Bundle, BundleCase, BundleModel, refuse_links, save_array
from helpers.interop.ports import ports_of_graph
from helpers.params.model import RunParams
from helpers.params.renamed import rename_parameters
from helpers.params.resolve import anchor_paths, check_limits
from helpers.params.targets import load_target
from helpers.params.yaml_file import explain_validation_error
from helpers.recipes.base import LoadedModel, ModelSource, P, Recipe
from helpers.run import Run, StageResult
from helpers.run.atomic import copy_file, write_json
from helpers.run.digest import digest_file, digest_value
from helpers.run.in_flight import Place
from helpers.stages.artifact import FOLDER, read_manifest
from helpers.stages.compile import compile_graph
from helpers.stages.data import selected_cases
from helpers.stages.graph import FINAL
from helpers.stages.labels import open_run

if TYPE_CHECKING:
    import torch

# Parameters that name a path or a user of one machine; every machine has its own.
_PLACES = RunParams.NOT_HASHED - {"part"} | {"checkpoint", "data_root", "ref_folder"}


def pack_bundle(recipe: Recipe, run: Run, folder: Path) -> Bundle:
    """Writes the graph and the prepared cases of a run into a bundle, replacing the contents of an earlier one.

    Raises:
        ParameterError: the run keeps probabilities.
        DataError: the folder has files but is not a bundle.
    """
    if recipe.preparation.keeps_probabilities(run.params):
        raise ParameterError("a bundle returns labels, not probabilities", received="save_softmax")
    held = ("cases", FOLDER, "answers", "device_tool")
    if not (folder / MANIFEST).is_file() and (there := [n for n in (GRAPH, *held) if (folder / n).exists()]):
        raise DataError(
            f"{folder} is not a bundle, and its files would be replaced",
            received=there,
            remedy="Name another folder.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    refuse_links(folder)
    write_json(folder / MANIFEST, {"format": None})  # marks a bundle that is not complete yet
    for name in held:
        shutil.rmtree(folder / name, ignore_errors=True)
    copy_file(run.path(FINAL), folder / GRAPH)
    spec = recipe.model.graph_spec(run.params)
    cases = []
    for index, files in enumerate(selected_cases(recipe, run)):
        job = recipe.preparation.prepare_job(recipe.cases.read_case(files, run.params), run.params)
        cases.append(BundleCase(files.id, f"cases/{index:04d}.npy", job.plan, _digest_sources(recipe, run, files)))
        save_array(folder / cases[-1].image, job.image)
    ports = ports_of_graph(folder / GRAPH, spec, run.params.batch_size)
    params = run.params.model_dump(mode="json", exclude=set(_PLACES), exclude_defaults=True)
    bundle = Bundle(folder, recipe.name, params, asdict(spec), ports, tuple(cases))
    bundle = bundle.with_files(GRAPH, *(case.image for case in cases))
    bundle.write()
    return bundle


def compile_bundle(bundle: Bundle, given: Mapping[str, object]) -> tuple[Bundle, StageResult]:
    """Compiles the bundle's graph for a target, without the recipe's checkpoint, its cases or torch.

    Args:
        bundle: with a graph.
        given: parameters that override the bundle's: `target`, `precision`, `batch_size`, the compiler's, `outputs`.

    Raises:
        CompileError: the compiler rejects the graph, or is not on this machine; its command is in the message.
    """
    packed = rename_parameters(bundle.params, RunParams.model_fields)
    shared = {name: value for name, value in packed.items() if name in RunParams.model_fields}
    if "target" in given:
        shared |= load_target(str(given["target"])).defaults
    run = Run(_check(RunParams, {**shared, "cases": []}, given))
    copy_file(bundle.checked(GRAPH), run.path(FINAL))
    result = compile_graph(_BundleModel(bundle), run, _NoCalibration())
    if result.status == "not run here":
        error = CompileError(
            f"the compiler of {run.params.target} is not on this machine",
            expected=result.values["command"],
            remedy=f"Needed: {result.values['needs']}",
        )
        run.fail(error)
        raise error
    run.finish("compiled for a hand-over bundle; no case was run here")
    made = read_manifest(run)
    shutil.rmtree(bundle.folder / FOLDER, ignore_errors=True)
    files = tuple(f"{FOLDER}/{name}" for name in made.files)
    for name in files:
        copy_file(run.path(name), bundle.folder / name)
    target = load_target(made.target).model_dump(mode="json")
    batches = tuple(made.batches) if made.batches else None
    bundle = bundle.with_files(*files, model=BundleModel(target, made.precision, batches, files), notes={})
    bundle.write()
    return bundle, result


def open_bundle_run(bundle: Bundle, given: Mapping[str, object]) -> tuple[Recipe, Run]:
    """Opens a new run for the masks of a bundle; returns its recipe and the run.

    Args:
        bundle: with the outputs of its cases.
        given: parameters that override the bundle's: `data_root`, `outputs`, `minimum_scores`, and, for a model
            folder of nnU-Net, `checkpoint`, whose plan defines how a mask is restored.
    """
    recipe = recipes.load(bundle.recipe)
    cases = [case.id for case in bundle.cases]
    return recipe, open_run(recipe, _check(recipe.params_model, {**bundle.params, "cases": cases}, given))


class BundleAnswers(contextlib.nullcontext):
    """Makes a run's masks from the outputs in a bundle."""

    def __init__(self, bundle: Bundle, recipe: Recipe, run: Run):
        super().__init__(self)
        self._bundle, self._recipe, self._run = bundle, recipe, run
        self._cases = {case.id: case for case in bundle.cases}
        self._files = {files.id: files for files in selected_cases(recipe, run)}

    def digest(self, case_id: str) -> str:
        """Hash of the case's output.

        Raises:
            DataError: the output is missing, or belongs to a case of the same name with other files.
        """
        case = self._cases[case_id]
        if case.answer not in self._bundle.files:
            raise DataError(f"the bundle has no output for {case_id}", remedy="Run `cookbook infer` on it.")
        if _digest_sources(self._recipe, self._run, self._files[case_id]) != case.source_digest:
            raise DataError(
                f"the files of {case_id}, or the plan, differ from those it was prepared with",
                remedy="Set data_root to the same data and checkpoint to the same model folder, or export again.",
            )
        return self._bundle.files[case.answer]

    def open(self) -> None:
        """Does nothing: outputs are read from files."""

    def recovered_errors(self) -> list[str]:
        """Empty: the errors occurred on another machine."""
        return []

    def is_simulated(self) -> bool:
        """False: only the reading of outputs is timed here; the device's own times are in the bundle."""
        return False

    def segment(self, case: Case, path: Path, place: Place) -> np.ndarray:
        """The mask of a case, from its output."""
        job = self._recipe.preparation.prepare_job(case, self._run.params)
        return job.restore(self._bundle.load(self._cases[case.id].answer))


class _BundleModel(ModelSource[RunParams]):
    """The graph of a bundle, with as much of its model as a compiler needs."""

    def __init__(self, bundle: Bundle):
        self._bundle = bundle

    def graph_spec(self, params: RunParams) -> GraphSpec:
        """The bundle's, with the batch size of the compiled model."""
        return replace(GraphSpec.from_json(self._bundle.spec), batch_size=params.batch_size)

    def checkpoint_paths(self, params: RunParams) -> tuple[Path, ...]:
        """The graph itself."""
        return (self._bundle.path(GRAPH),)

    def load(self, params: RunParams) -> LoadedModel:
        """Raises a CompileError: the bundle has no checkpoint."""
        raise _not_in_bundle("the trained network")

    def load_for_export(self, params: RunParams) -> torch.nn.Module:
        """Raises a CompileError: the bundle has no checkpoint."""
        raise _not_in_bundle("the network in PyTorch")


class _NoCalibration:
    """Raises a CompileError on use: the bundle has no cases to calibrate with."""

    def windows(self) -> np.ndarray:
        raise _not_in_bundle("cases to calibrate with")

    def inputs(self) -> Mapping[str, object]:
        raise _not_in_bundle("cases to calibrate with")

    def code(self) -> tuple[object, ...]:
        return ()


def _not_in_bundle(what: str) -> CompileError:
    return CompileError(
        "a bundle contains only a graph and prepared cases",
        received=f"the compiler needs {what}",
        remedy="Compile for this target on the machine that has the checkpoint and the cases.",
    )


def _check(model: type[P], content: Mapping[str, object], given: Mapping[str, object]) -> P:
    known = model.model_fields
    try:
        given = anchor_paths(rename_parameters(given, known), model)
        params = model.model_validate(rename_parameters(content, known) | given)
    except ValidationError as error:
        raise explain_validation_error(error, model, where="bundle.json", places=dict.fromkeys(given)) from None
    check_limits(params, load_target(params.target))
    return params


def _digest_sources(recipe: Recipe, run: Run, files: CaseFiles) -> str:
    digests = {role: digest_file(path) for role, path in files.files.items()}
    return digest_value({"files": digests, "rules": recipe.model.cache_key_extras(run.params)})
