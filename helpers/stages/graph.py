"""From a checkpoint to a graph that a compiler accepts: export, simplify, rewrite, inspect, lint."""

from __future__ import annotations

from pathlib import Path

from helpers.graph.export import check_contract
from helpers.graph.inspect import summarize_graph
from helpers.graph.lint import Objection, lint
from helpers.graph.probe import probe_sample, probe_windows
from helpers.graph.read import load_graph, opset_of, without_weights
from helpers.graph.simplify import keep_unsimplified, run_onnxsim
from helpers.graph.spec import GraphSpec
from helpers.graph.surgery import rewrite_and_prove, rewrite_named
from helpers.params.targets import load_target
from helpers.recipes.base import Recipe
from helpers.run import Check, Run, StageOutput, StageResult
from helpers.run.digest import digest_file
from helpers.run.environment import package_version
from helpers.stages.answers import (
    ANSWERS,
    ReferenceAnswers,
    check_against_answers,
    check_errors,
    prove_export,
    save_answers,
)

EXPORTED, SIMPLIFIED, FINAL = "graph/exported.onnx", "graph/simplified.onnx", "model.onnx"


def export_onnx(recipe: Recipe, run: Run) -> StageResult:
    """Loads the checkpoint strictly, exports it, and compares the file with the network at each batch size.

    Raises:
        CheckpointError: the checkpoint does not fit.
        GraphError: the file does not match the specification.
        GateError: its outputs differ from the network's.
    """
    spec, described = recipe.model.graph_spec(run.params), recipe.model.describe(run.params)

    def make(folder: Path) -> StageOutput:
        loaded = recipe.model.load(run.params)
        path = folder / EXPORTED
        path.parent.mkdir()
        model, answer = loaded.export_and_run(spec, path, probe_sample(spec))
        checks = [loaded.check, Check("opset read back from the file", True, str(opset_of(model)))]
        nodes, windows = len(model.graph.node), probe_windows(model, spec)
        del model
        proof, answers = prove_export(loaded, path, spec, windows, run.params.parity_tolerance)
        checks += check_errors(proof, loaded.runs_in, run)
        save_answers(folder, ReferenceAnswers(loaded.runs_in, proof.window, answers, answer))
        facts: dict[str, object] = {**described, "input": f"{spec.input_name} {_axes(spec)}", "nodes": nodes}
        facts |= {"compared at": proof.window_text}
        facts |= {"changed in the model": "; ".join(loaded.notes)} if loaded.notes else {}
        return StageOutput(tuple(checks), facts, {"nodes": nodes}, "Simplify the graph.")

    inputs = {
        "checkpoints": [digest_file(path) for path in recipe.model.checkpoint_paths(run.params)],
        "rules": recipe.model.cache_key_extras(run.params),
        "spec": spec.__dict__,
        "described": described,
        "torch": package_version("torch"),
        "tolerance": run.params.parity_tolerance,
    }
    return run.perform("export", "Export to ONNX", inputs=inputs, make=make, code=(recipe.model,))


def simplify_onnx(recipe: Recipe, run: Run) -> StageResult:
    """Runs onnxsim in a child process; if that fails, keeps the exported graph and reports the reason.

    A graph that was kept unsimplified is never reused: the next run tries again.
    """
    spec = recipe.model.graph_spec(run.params)
    source = run.require_file(EXPORTED)

    def make(folder: Path) -> StageOutput:
        target = folder / SIMPLIFIED
        target.parent.mkdir()
        done = run_onnxsim(source, target, {}, timeout_s=run.params.simplify_timeout_s, compare=False)
        checks = check_against_answers(run, target, spec) if done.simplified else []
        if not all(check.passed for check in checks):
            done = keep_unsimplified(source, target, f"onnxsim changed the outputs: {checks[-1].figure}")
            checks = []
        check_contract(load_graph(target), spec)
        outcome = "simplified" if done.simplified else f"kept unsimplified: {done.reason}"
        return StageOutput(
            checks=(Check("names, opset and shapes unchanged", True, f"opset {spec.opset}, {_axes(spec)}"), *checks),
            facts={"outcome": outcome, "nodes": f"{done.nodes_before} → {done.nodes_after}"},
            values={"simplified": done.simplified, "nodes": done.nodes_after},
            next_step="Rewrite the nodes that a compiler would reject.",
            # onnxsim may have been killed, or slow on a busy machine: the next run gives it another chance.
            reusable=done.simplified,
        )

    inputs = {
        "graph": digest_file(source),
        "answers": digest_file(run.require_file(ANSWERS)),
        "onnxsim": package_version("onnxsim"),
        "spec": spec.__dict__,
        "tolerance": run.params.parity_tolerance,
    }
    return run.perform("simplify", "Simplify with onnxsim", inputs=inputs, make=make)


def apply_surgery(recipe: Recipe, run: Run) -> StageResult:
    """Applies the recipe's rewrites and proves on random input that the outputs stay the same.

    Rewrites for nodes that the run's target would reject are applied even if the recipe does not name them.

    Raises:
        GraphError: a rewrite changed the outputs.
    """
    import onnx

    spec = recipe.model.graph_spec(run.params)
    source = run.require_file(SIMPLIFIED)
    names = list(dict.fromkeys((*recipe.rewrites, *_offered(run))))

    def make(folder: Path) -> StageOutput:
        rewrites = [rewrite_named(name) for name in names]
        model, report = rewrite_and_prove(load_graph(source), rewrites, spec)
        onnx.save(model, str(folder / FINAL))
        facts = {rewrite.name: rewrite.why for rewrite in rewrites}
        facts |= {node: text for _, node, text in report.rows}
        facts |= {f"{op} nodes": f"{before} → {after}" for op, before, after in report.op_changes()}
        del model
        checks: tuple[Check, ...] = (Check("no node to rewrite", True, "the graph that the step before compared"),)
        if report.rows:
            batches = ", ".join(str(batch) for batch in report.batches)
            proof = Check(f"same outputs at batch {batches}", True, f"maximum difference {report.largest_change:g}")
            checks = (proof, *check_against_answers(run, folder / FINAL, spec))
            facts["compared at"] = report.proof.window_text
        values = {"rewritten": len(report.rows), "largest_change": report.largest_change}
        return StageOutput(checks, facts, values, "Inspect the graph.")

    inputs = {
        "graph": digest_file(source),
        "answers": digest_file(run.require_file(ANSWERS)),
        "rewrites": names,
        "spec": spec.__dict__,
        "tolerance": run.params.parity_tolerance,
    }
    return run.perform("surgery", "Graph surgery", inputs=inputs, make=make)


def inspect_graph(recipe: Recipe, run: Run) -> StageResult:
    """Counts ops, multiply-accumulates and parameters of the final graph."""
    source = run.require_file(FINAL)

    def make(folder: Path) -> StageOutput:
        summary = summarize_graph(load_graph(source))
        facts = {
            "ops": ", ".join(f"{op} {count}" for op, count in summary.ops.items()),
            "multiply-accumulates": f"{summary.macs / 1e9:.3f} G per sample",
            "parameters": f"{summary.parameters:,} ({summary.parameter_bytes / 1e6:.2f} MB)",
            "opset": summary.opset,
        }
        if summary.uncounted:
            facts["not counted"] = ", ".join(summary.uncounted)
        values = {"macs": summary.macs, "parameters": summary.parameters, "ops": summary.ops}
        return StageOutput((), facts, values, "Check which targets accept the graph.")

    return run.perform("inspect", "Inspect the graph", inputs={"graph": digest_file(source)}, make=make)


def lint_graph(recipe: Recipe, run: Run) -> StageResult:
    """Lists the nodes that each target would reject, before and after surgery."""
    before, after = run.require_file(SIMPLIFIED), run.require_file(FINAL)
    targets = [load_target(name) for name in dict.fromkeys((*recipe.targets_to_lint, run.params.target))]

    def make(folder: Path) -> StageOutput:
        facts, checks, values = {}, [], {}
        first, last = without_weights(load_graph(before)), without_weights(load_graph(after))
        for target in targets:
            old, new = lint(first, target), lint(last, target)
            facts[target.title] = f"{_count(old)} before surgery, {_count(new)} after"
            values[target.name] = [len(old), len(new)]
            if new:
                facts[f"{target.name} rejects"] = "; ".join(f"{item.node}: {item.why}" for item in new[:3])
            if target.name == run.params.target:
                checks.append(Check(f"{target.name} accepts every node", not new, _count(new)))
        return StageOutput(tuple(checks), facts, values, "Compile the graph.")

    inputs = {
        "before": digest_file(before),
        "after": digest_file(after),
        "targets": [target.model_dump(mode="json") for target in targets],
    }
    return run.perform("lint", "Lint against targets", inputs=inputs, make=make)


def _offered(run: Run) -> list[str]:
    """The rewrites for nodes that the run's target would reject."""
    objections = lint(load_graph(run.require_file(SIMPLIFIED)), load_target(run.params.target))
    return [item.rewrite for item in objections if item.rewrite]


def _count(objections: list[Objection]) -> str:
    if not objections:
        return "no objection"
    ops = sorted({item.op for item in objections})
    return f"{len(objections)} objection{'s' if len(objections) > 1 else ''} ({', '.join(ops)})"


def _axes(spec: GraphSpec) -> str:
    first = "batch" if spec.dynamic_batch else str(spec.batch_size)
    return "(" + ", ".join([first, *(str(axis) for axis in spec.input_shape)]) + ")"
