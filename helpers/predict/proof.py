"""A compiled model that was proven: found in the store, or exported, rewritten, compiled and compared on the way.

The key of a proof covers the weights, every parameter and rule that the graph depends on, the target, the versions of
the libraries and the code of the steps. The steps themselves are those of a notebook and share its cache.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from helpers import recipes
from helpers.compile.base import compiler_for
from helpers.devices import open_device
from helpers.devices.compile_cache import compile_cache
from helpers.errors import ParameterError
from helpers.inference.predictor import DevicePredictor
from helpers.interop.bundle import Bundle
from helpers.params.model import RunParams
from helpers.params.paths import HOME_VARIABLE, PROJECT_ROOT, create_output, place_output
from helpers.params.targets import load_target
from helpers.recipes.base import Recipe
from helpers.run import Run, StageResult
from helpers.run.code import memo_folder, project_code
from helpers.run.digest import digest_file, digest_value
from helpers.run.libraries import library_versions
from helpers.run.measure import return_memory
from helpers.run.store import CacheEntry, Store
from helpers.stages.artifact import FOLDER, CompiledManifest, read_manifest_file
from helpers.stages.compile import compile_model
from helpers.stages.graph import apply_surgery, export_onnx, lint_graph, simplify_onnx
from helpers.stages.parity import check_device

_STEPS = (export_onnx, simplify_onnx, apply_surgery, lint_graph, compile_model)
# Parameters that no compiled model depends on.
_OF_THE_DATA = frozenset(
    {"recipe", "profile", "checkpoint", "data_root", "cases", "demo_seeds", "minimum_scores", "demo_minimum_scores"}
    | {"series", "allow_shear", "mask_format", "segment_codes"}
    | {"device_tool", "device_tool_chips", "precision_study", "study_targets", "study_precisions", "study_batches"}
    | {"maximum_scores", "volume_metrics", "nsd_tolerance_mm", "lesion_labels"}
    | {"study_seconds", "int8_attempts", "save_softmax"}
)


@dataclass(frozen=True)
class ProvenModel:
    """A compiled model and what is needed to open it.

    Attributes:
        path: the file that the device opens.
        manifest: of the compiled model.
        digest: of its files and of how it is opened.
        outputs: folder of the store and the caches.
        note: what the user should know, such as a fallback; else empty.
        opened: the device that the proof has opened; it stays open for the masks.
    """

    path: Path
    manifest: CompiledManifest
    digest: str
    outputs: Path
    note: str = ""
    opened: DevicePredictor | None = None

    @contextlib.contextmanager
    def open(self, recipe: Recipe, params: RunParams) -> Iterator[DevicePredictor]:
        """Opens the model on its target, with the runtime's own cache, unless it is open."""
        if self.opened is not None:
            yield self.opened
            return
        spec, target = recipe.model.graph_spec(params), load_target(self.manifest.target)
        devices = params.devices if target.name == params.target else None
        with contextlib.ExitStack() as stack:
            with compile_cache(self.outputs / ".opened", target.runtime, {"model": self.digest}) as options:
                device = open_device(
                    self.path,
                    target,
                    precision=self.manifest.precision,
                    output_batch_axis=spec.output_batch_axis,
                    devices=devices,
                    **options,
                )
                stack.enter_context(device)
            yield DevicePredictor(device, spec.input_name, spec.output_name)


def find_or_prove(
    recipe: Recipe, params: RunParams, stack: contextlib.ExitStack, *, is_calibrated: bool
) -> ProvenModel:
    """The compiled model of some parameters; a line on standard error names each step of a proof.

    Args:
        recipe, params: of the model. `data_root` matters for a calibrated model only.
        stack: closes the device that a proof opens.
        is_calibrated: whether the parameters name the cases that a quantised model is calibrated with.

    Raises:
        ParameterError: a quantised model without its calibration cases.
        GateError: a form of the model differs from the reference.
    """
    if params.precision.startswith(("int8", "qint")) and not is_calibrated:
        raise ParameterError(
            "a quantised model is calibrated with the cases of a run",
            received=f"precision {params.precision}",
            remedy="Name a finished run in this precision as MODEL, or another precision.",
        )
    outputs = place_output(params.outputs)
    store, key = Store(outputs / ".store"), _key(recipe, params)
    if params.cache and (proven := _find(store, key, outputs)):
        return proven
    return _prove(recipe, params, store, key, stack)


def _find(store: Store, key: str, outputs: Path) -> ProvenModel | None:
    """The model of a proof: its entry names that of the model. Both are compared with their digests."""
    proof = store.find(key)
    model = store.find(str(proof.result["model"])) if proof else None
    return _stored_model(model, outputs, str(proof.result["note"])) if proof and model else None


def _stored_model(entry: CacheEntry, outputs: Path, note: str) -> ProvenModel:
    manifest = read_manifest_file(entry.folder / FOLDER)
    digest = digest_value({"files": entry.files, "precision": manifest.precision, "target": manifest.target})
    return ProvenModel(entry.folder / FOLDER / manifest.files[0], manifest, digest, outputs, note)


def model_of_bundle(bundle: Bundle, params: RunParams) -> ProvenModel:
    """The compiled model of a bundle, after its files were compared with their digests."""
    model = bundle.model
    if model is None:
        raise ParameterError(
            f"the bundle {bundle.folder} has no compiled model", remedy="Run `cookbook compile` first."
        )
    paths = [bundle.checked(name) for name in model.files]
    target = load_target(str(model.target["name"]))
    names = [path.name for path in paths]
    manifest = CompiledManifest(
        target.name, target.name, target.runtime, params.precision, list(model.batches or ()) or None, names
    )
    digest = digest_value({"files": [bundle.files[name] for name in model.files], "precision": model.precision})
    return ProvenModel(paths[0], manifest, digest, place_output(params.outputs))


def _key(recipe: Recipe, params: RunParams) -> str:
    target = load_target(params.target)
    reached = project_code().digest((*_STEPS, check_device, recipe.model), memo_folder(params.outputs))
    calibrated = params.precision.startswith(("int8", "qint"))
    left_out = {*params.NOT_HASHED, *params.NOT_IN_MASKS, *(() if calibrated else _OF_THE_DATA)}
    content = {
        "proof": 2,
        "recipe": recipe.name,
        "rewrites": recipe.rewrites,
        "checkpoints": [digest_file(path) for path in recipe.model.checkpoint_paths(params)],
        "rules": recipe.model.cache_key_extras(params),
        "spec": recipe.model.graph_spec(params).__dict__,
        "params": params.model_dump(mode="json", exclude=left_out),
        "target": target.model_dump(mode="json"),
        "compiler": compiler_for(target.runtime).identity(target),
        "code": reached.digest,
        "libraries": library_versions({*reached.libraries, "onnx", "onnxruntime", "onnxsim", "openvino", "torch"}),
    }
    return digest_value(content)


def _prove(recipe: Recipe, params: RunParams, store: Store, key: str, stack: contextlib.ExitStack) -> ProvenModel:
    """Performs the steps in a run that is removed afterwards; the compiled model and the proof stay in the store."""
    place = create_output(place_output(params.outputs) / ".predict" / "work")
    with tempfile.TemporaryDirectory(prefix="run-", dir=place) as folder:
        _export_apart(recipe, params, Path(folder))
        run = Run(params, Path(folder))
        for step in _STEPS:
            _report(step(recipe, run))
        compiled = run.results["compile"]
        note = ""
        if compiled.status == "not run here":
            note = f"not run here: {compiled.title}. The masks come from {compiled.values['fallback']}."
        model = _keep_model(run, store, key, note)
        # Opened where later calls open it, so that they find it in the runtime's cache.
        opened = stack.enter_context(model.open(recipe, params))
        _report(check_device(recipe, run, opened))
        run.finish(note)
        with store.working_folder() as working:
            store.keep(key, working, {"note": note, "model": _model_key(key)})
    return replace(model, opened=opened)


def _report(result: StageResult) -> None:
    sys.stderr.write(f"{result.title}: {result.status}, {result.shown_seconds} s\n")
    sys.stderr.flush()
    return_memory()


def _model_key(key: str) -> str:
    return digest_value({"model of": key})


def _keep_model(run: Run, store: Store, key: str, note: str) -> ProvenModel:
    """Puts the compiled model into the store, under a key that only its proof names."""
    with store.working_folder() as working:
        _link_or_copy(run.path(FOLDER), working / FOLDER)
        entry = store.keep(_model_key(key), working, {})
    return _stored_model(entry, place_output(run.params.outputs), note)


def _export_apart(recipe: Recipe, params: RunParams, folder: Path) -> None:
    """Exports in a process of its own, whose memory, PyTorch included, is free again before the next step.

    The stage's results are in the store afterwards. Whatever fails here is done again, and reported, in this process.
    """
    if not params.cache:
        return
    program = f"from {__name__} import export_in_child; export_in_child()"
    request = json.dumps([recipe.name, params.model_dump(mode="json", exclude_defaults=True), str(folder / "export")])
    environment = {**os.environ, HOME_VARIABLE: str(PROJECT_ROOT), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # PyTorch's waiting threads leave the processor to others
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env=environment,
    ) as child:
        try:
            loading = threading.Thread(target=_load_libraries, daemon=True)
            loading.start()
            child.communicate(request)
            loading.join()
        except BaseException:
            child.kill()
            raise


def _load_libraries() -> None:
    """Imports what the steps after the export need, while the child works."""
    for name in ("onnx", "onnxruntime", "openvino"):
        with contextlib.suppress(ImportError):  # reported by the step that needs it
            importlib.import_module(name)


def export_in_child() -> None:
    """The program of `_export_apart`: reads the name of a recipe, its parameters and a folder from standard input."""
    name, content, folder = json.load(sys.stdin)
    recipe = recipes.load(name)
    export_onnx(recipe, Run(recipe.params_model.model_validate(content), Path(folder)))


def _link_or_copy(source: Path, target: Path) -> None:
    """Puts a compiled model's files into another folder, without a second copy where the file system can."""
    manifest = read_manifest_file(source)
    target.mkdir(parents=True)
    for name in (*manifest.files, "manifest.json"):
        try:
            os.link(source / name, target / name)
        except OSError:
            shutil.copyfile(source / name, target / name)
