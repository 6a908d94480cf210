"""Compiles the graph for the run's target, or shows the vendor's command and continues with a fallback."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

from helpers.compile.base import CompiledModel, CompileJob, compiler_for
from helpers.graph.read import load_graph
from helpers.graph.spec import GraphSpec
from helpers.graph.surgery import Rewrite, rewrite_and_prove, rewrite_in_place, rewrite_named
from helpers.params.targets import Precision, Target, load_target
from helpers.recipes.base import ModelSource, Recipe
from helpers.run import Run, StageOutput, StageResult
from helpers.run.digest import digest_file
from helpers.run.measure import return_memory
from helpers.stages.answers import ANSWERS, ReferenceAnswers, prove_rewrites, read_answers
from helpers.stages.artifact import FOLDER, CompiledManifest, write_manifest
from helpers.stages.calibration import WINDOWS, Calibration, RunCalibration
from helpers.stages.graph import FINAL
from helpers.view.progress import report_progress

_OUTPUT, _REWRITTEN = f"{FOLDER}/model", f"{FOLDER}/rewritten.onnx"
# A fallback always runs in this precision, whatever precision the run asks for: every gate passes in it.
_FALLBACK_PRECISION: Precision = "f32"


def compile_model(recipe: Recipe, run: Run) -> StageResult:
    """Compiles the graph into the file that the target's device opens.

    If the vendor's compiler is not on this machine, its command is shown, the stage is marked "not run here", and
    the graph is compiled for the target's fallback in a separate stage. The pipeline continues with that model.

    Raises:
        CompileError: the compiler rejects the graph, or is not on this machine and the target has no fallback.
    """
    return compile_graph(recipe.model, run, RunCalibration(recipe, run))


def compile_graph(model: ModelSource, run: Run, calibration: Calibration) -> StageResult:
    """As `compile_model`, from the parts of a recipe that a compiler needs."""
    target = load_target(run.params.target)
    if compiler_for(target.runtime).identity(target) is not None or target.fallback is None:
        return _compile(model, run, calibration, target, run.params.precision)
    fallback = load_target(target.fallback)
    result = _show_command(model, run, calibration, target, fallback)
    _compile(model, run, calibration, fallback, _FALLBACK_PRECISION)
    return result


def show_vendor_commands(recipe: Recipe, run: Run) -> StageResult:
    """Shows the exact compiler command for each vendor target, to copy to a machine that has the compiler."""
    targets = [load_target(name) for name in recipe.targets_to_lint]
    calibration = RunCalibration(recipe, run)
    jobs = {}
    for target in targets:
        precision = cast(Precision, target.defaults.get("precision", target.precisions[0]))
        output = f"{FOLDER}/{recipe.name}_{target.name}_bs{run.params.batch_size}"
        job = _job(recipe.model, run, calibration, target, precision, output)
        jobs[target.name] = job if target.name == run.params.target else _without_soc_version(job)

    def make(folder: Path) -> StageOutput:
        facts: dict[str, object] = {}
        for target in targets:
            _write_side_files(jobs[target.name], folder)
            lines = compiler_for(target.runtime).commands(jobs[target.name])
            facts[target.title] = next(iter(lines.values()))
            facts[f"{target.title} needs"] = target.needs
        return StageOutput(
            (), facts, {}, "Run a command in this run's folder on a machine that has the compiler.", "not run here"
        )

    inputs = {
        target.name: {
            "target": target.model_dump(mode="json"),
            **compiler_for(target.runtime).inputs(jobs[target.name]),
        }
        for target in targets
    }
    return run.perform("vendor", "Commands for vendor machines", inputs=inputs, make=make, code=(GraphSpec,))


def _show_command(
    model: ModelSource, run: Run, calibration: Calibration, target: Target, fallback: Target
) -> StageResult:
    compiler = compiler_for(target.runtime)
    job = _job(model, run, calibration, target, run.params.precision, _OUTPUT)
    source = run.require_file(FINAL)
    if job.is_calibrated:
        calibration.windows()  # written for the command to read

    def make(folder: Path) -> StageOutput:
        _, facts = _rewrite_for_target(job, source, folder, None)
        _write_side_files(job, folder)
        commands, substitute = compiler.commands(job), f"{fallback.title}, {_FALLBACK_PRECISION}"
        facts |= {"target": target.title, **commands, "needs": target.needs, "continues with": substitute}
        values = {"command": next(iter(commands.values())), "needs": target.needs, "fallback": substitute}
        next_step = "Run the command in this run's folder on a machine that has the compiler."
        return StageOutput((), facts, values, next_step, "not run here")

    inputs = {**_inputs(job, source), "fallback": fallback.name}
    return run.perform("compile", f"Compile for {target.title}", inputs=inputs, make=make, code=(GraphSpec,))


def _compile(
    model: ModelSource, run: Run, calibration: Calibration, target: Target, precision: Precision
) -> StageResult:
    compiler = compiler_for(target.runtime)
    job = _job(model, run, calibration, target, precision, _OUTPUT)
    source = run.require_file(FINAL)

    def make(folder: Path) -> StageOutput:
        output = folder / _OUTPUT
        output.parent.mkdir()
        # The compiled model of a run that has the reference's answers is compared with them on the full window.
        answers = read_answers(run) if run.path(ANSWERS).is_file() else None
        graph, facts = _rewrite_for_target(job, source, folder, answers)
        return_memory()
        _write_side_files(job, folder)
        try:
            with report_progress("compile", run.params.interactive) as report:
                done = compiler.compile(job, graph, output, report)
        except BaseException:
            _keep_log(output, run)
            raise
        write_manifest(output.parent, _manifest(run, job, done))
        facts |= {"target": target.title, **compiler.commands(job), **done.facts}
        return StageOutput(
            done.checks,
            facts,
            {"batches": done.batches},
            "Check that every form of the model agrees.",
            timings=done.timings,
            simulated=done.simulated,
        )

    stage = "compile" if target.name == run.params.target else "compile_fallback"
    inputs = {**_inputs(job, source), "compiler": compiler.identity(target), "asked": run.params.target}
    inputs["precision"] = precision
    code = (model, *(calibration.code() if job.is_calibrated else ()))
    return run.perform(stage, f"Compile for {target.title}", inputs=inputs, make=make, code=code)


def _inputs(job: CompileJob, source: Path) -> dict[str, object]:
    target = job.target.model_dump(mode="json")
    return {"graph": digest_file(source), "target": target, **compiler_for(job.target.runtime).inputs(job)}


def _job(
    model: ModelSource, run: Run, calibration: Calibration, target: Target, precision: Precision, output: str
) -> CompileJob:
    return CompileJob(
        graph_name=_REWRITTEN if rewrites_for(target, precision) else FINAL,
        output_name=output,
        spec=model.graph_spec(run.params),
        target=target,
        precision=precision,
        params=run.params,
        load_network=lambda: model.load_for_export(run.params),
        checkpoints=model.checkpoint_paths(run.params),
        calibration=calibration,
        calibration_file=WINDOWS,
    )


def _without_soc_version(job: CompileJob) -> CompileJob:
    """A job for another target than the run's, to which the run's own `soc_version` does not apply."""
    options = job.params.atc.model_copy(update={"soc_version": None})
    return replace(job, params=job.params.model_copy(update={"atc": options}))


def _manifest(run: Run, job: CompileJob, done: CompiledModel) -> CompiledManifest:
    files = [path.name for path in done.files]
    batches = list(done.batches) if done.batches else None
    return CompiledManifest(run.params.target, job.target.name, job.target.runtime, job.precision, batches, files)


def _keep_log(output: Path, run: Run) -> None:
    """Copies the log of a failed compilation into the run's folder; nothing else of it is kept."""
    log = output.with_suffix(".log")
    if log.is_file():
        run.path(FOLDER).mkdir(exist_ok=True)
        shutil.copyfile(log, run.path(f"{FOLDER}/{log.name}"))


def _write_side_files(job: CompileJob, folder: Path) -> None:
    for name, text in compiler_for(job.target.runtime).side_files(job).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def rewrites_for(target: Target, precision: Precision) -> list[Rewrite]:
    """The target's own rewrites that are worth their cost in this precision."""
    rewrites = [] if target.runtime == "torch" else [rewrite_named(name) for name in target.rewrites]
    return [rewrite for rewrite in rewrites if rewrite.precisions is None or precision in rewrite.precisions]


def _rewrite_for_target(
    job: CompileJob, source: Path, folder: Path, answers: ReferenceAnswers | None
) -> tuple[Path, dict[str, object]]:
    """Applies the target's own rewrites; returns the graph to compile and one row per rewrite.

    They are compared with the reference's answers if those are there and suffice, else with the graph before them.
    """
    import onnx

    rewrites = rewrites_for(job.target, job.precision)
    if not rewrites:
        return source, {}
    proven = prove_rewrites(answers, source, rewrites, job.spec) if answers else None
    if proven:
        model = load_graph(source)
        proof, compared = proven
        changed = f"{len(rewrite_in_place(model, rewrites))} nodes"
        changed += f", {compared} of them compared with the reference" if compared else ", compared once compiled"
    else:
        model, report = rewrite_and_prove(load_graph(source), rewrites, job.spec, at_full_size=answers is None)
        changed, proof = f"{len(report.rows)} nodes", report.proof
    rewritten = folder / _REWRITTEN
    rewritten.parent.mkdir(exist_ok=True)
    onnx.save(model, str(rewritten))
    changed += f", maximum difference {proof.largest:.1e} of range at {proof.window_text}" if proof.errors else ""
    return rewritten, {f"{rewrite.name}: {rewrite.why}": changed for rewrite in rewrites}
