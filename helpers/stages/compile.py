"""Compiles the graph for the run's target, and shows what a vendor's machine would run."""

from __future__ import annotations

import shutil
from pathlib import Path

from helpers.compile.atc import atc_command, find_atc, show_command
from helpers.errors import CompileError
from helpers.graph.read import load_graph
from helpers.graph.surgery import apply_surgery, rewrite_named
from helpers.params.targets import Target, load_target
from helpers.recipes.base import Recipe
from helpers.run import Made, Run, StageResult
from helpers.run.digest import digest_file, digest_value
from helpers.run.environment import package_version
from helpers.stages.graph import FINAL

_COMPILED = {"openvino": "compiled/model.xml", "onnxruntime": "compiled/model.onnx", "torch": "compiled/model.pt"}


def compile_model(recipe: Recipe, run: Run) -> StageResult:
    """Makes the file that the target's device opens.

    Raises:
        CompileError: the compiler refuses the graph, or is not on this machine.
    """
    target = load_target(run.params.target)
    if target.runtime not in _COMPILED:
        raise CompileError(
            f"{target.title} cannot be compiled for on this machine", received=target.runtime, remedy=target.needs
        )
    source = run.path(FINAL)

    def make(folder: Path) -> Made:
        output = folder / _COMPILED[target.runtime]
        output.parent.mkdir()
        graph, facts = _rewrite_for_target(recipe, run, target, source, output.with_name("rewritten.onnx"))
        _compile(recipe, run, target.runtime, graph, output)
        facts |= {"target": target.title, "runs in": f"{run.params.precision}, chosen when the device opens it"}
        return Made((), facts, {}, "Compare every form of the model on one input.")

    versions = {name: package_version(name) for name in ("openvino", "torch", "onnxruntime")}
    inputs = {"graph": digest_file(source), "target": target.model_dump(mode="json"), "versions": versions}
    if target.runtime == "torch":
        inputs["checkpoint"] = digest_file(recipe.checkpoint_path(run.params))
    return run.perform("compile", f"Compile for {target.title}", inputs=inputs, make=make)


def compiled_path(run: Run) -> Path:
    """The file that the run's device opens."""
    return run.path(_COMPILED[load_target(run.params.target).runtime])


def digest_compiled(run: Run) -> str:
    """One hash over every file of the compiled model (OpenVINO's weights lie beside its `.xml`) and its runtime."""
    path = compiled_path(run)
    files = {part.name: digest_file(part) for part in sorted(path.parent.glob(f"{path.stem}.*"))}
    runtime = load_target(run.params.target).runtime
    return digest_value({"files": files, "runtime": runtime, "version": package_version(runtime)})


def show_vendor_commands(recipe: Recipe, run: Run) -> StageResult:
    """The exact ATC command for each Ascend target: to copy to a machine with CANN. Nothing is run here."""
    spec = recipe.graph_spec(run.params)

    def make(folder: Path) -> Made:
        facts: dict[str, object] = {}
        for name in recipe.targets_to_lint:
            target = load_target(name)
            output = Path("compiled") / f"{recipe.name}_{name}_bs1"
            facts[target.title] = show_command(atc_command(Path(FINAL), output, spec, target, 1))
        facts["needs"] = "CANN's `atc`; its Python module `acl` comes with CANN (set_env.sh), not from pip"
        facts["atc on this machine"] = find_atc() or "not found"
        return Made((), facts, {}, "Run the command in this run's folder on a machine with CANN.", "not run here")

    inputs = {"spec": spec.__dict__, "targets": list(recipe.targets_to_lint), "atc": find_atc()}
    return run.perform("vendor", "Compile for Ascend", inputs=inputs, make=make)


def _rewrite_for_target(
    recipe: Recipe, run: Run, target: Target, source: Path, rewritten: Path
) -> tuple[Path, dict[str, object]]:
    """The graph with the target's own rewrites (the final graph where it has none), and what was rewritten."""
    import onnx

    if not target.rewrites or target.runtime == "torch":
        return source, {}
    rewrites = [rewrite_named(name) for name in target.rewrites]
    model, report = apply_surgery(load_graph(source), rewrites, recipe.graph_spec(run.params))
    onnx.save(model, str(rewritten))
    changed = f"{len(report.rows)} nodes, largest change {report.largest_change:.1e} of range"
    return rewritten, {f"{rewrite.name}: {rewrite.why}": changed for rewrite in rewrites}


def _compile(recipe: Recipe, run: Run, runtime: str, source: Path, output: Path) -> None:
    if runtime == "openvino":
        from helpers.compile.openvino import compile_openvino

        compile_openvino(source, output)
    elif runtime == "torch":
        from helpers.compile.torchscript import compile_torchscript

        compile_torchscript(recipe.deployed_network(run.params), recipe.graph_spec(run.params), output)
    else:
        shutil.copyfile(source, output)
