"""Inference with a vendor's command-line tool that the user runs: writes its inputs, reads its outputs."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from helpers.inference import WindowPlan
from helpers.interop.exchange import Exchange, check_room, measure_exchange
from helpers.interop.ports import ports_of_graph
from helpers.recipes.base import Recipe
from helpers.run import Run, StageOutput, StageResult
from helpers.run.digest import digest_file, digest_value
from helpers.stages.artifact import om_name
from helpers.stages.data import digest_case, selected_cases
from helpers.stages.graph import FINAL

FOLDER = "device_tool"
_LOG = logging.getLogger("cookbook")


def exchange_with_tool(recipe: Recipe, run: Run) -> StageResult:
    """If `device_tool` is set, writes the tool's inputs, shows its command, and checks for its outputs.

    Until all outputs exist, the stage is "not run here" and the pipeline continues with the device of this process.
    This is the only stage that writes windows to disk: these tools read nothing but files.

    Raises:
        ResourceError: there is not enough disk space; nothing was written.
    """
    exchange = open_exchange(recipe, run)
    if exchange is None:
        facts = {"device tool": "not set; the device runs in this process, and no window is written to disk"}
        return run.perform(
            "device_tool", "Vendor's tool", inputs={"tool": None}, make=lambda _: StageOutput((), facts)
        )

    def make(folder: Path) -> StageOutput:
        need = measure_exchange(((image.shape, plan) for _, image, plan in _prepared(recipe, run)), exchange.ports)
        if not exchange.is_written:
            _LOG.info("%s reads windows from files: %s", exchange.tool.name, need)
            check_room(need, exchange.folder)
            exchange.write(_prepared(recipe, run))
        return _report(run, exchange, str(need))

    # The files of an exchange are not in the cache, so the stage that writes them must not be reused.
    inputs = {"written": exchange.stamp or uuid.uuid4().hex, "answers": exchange.answers_listing()}
    return run.perform(
        "device_tool",
        f"Vendor's tool: {exchange.tool.name}",
        inputs=inputs,
        make=make,
        code=(recipe.model, recipe.cases, recipe.preparation),
    )


def open_exchange(recipe: Recipe, run: Run) -> Exchange | None:
    """The run's exchange folder; None without a `device_tool`."""
    params = run.params
    if params.device_tool is None:
        return None
    ports = ports_of_graph(run.require_file(FINAL), recipe.model.graph_spec(params), params.batch_size)
    key = {
        "graph": digest_file(run.path(FINAL)),
        "cases": {case.id: digest_case(case) for case in selected_cases(recipe, run)},
        "params": params.model_dump(mode="json", include=params.own_fields() | {"target", "precision", "batch_size"}),
    }
    folder = run.path(f"{FOLDER}/{params.device_tool}-{digest_value(key)[:8]}")
    return Exchange(folder, params.device_tool, ports, params.device_tool_chips)


def answered_exchange(recipe: Recipe, run: Run) -> Exchange | None:
    """The run's exchange if all outputs exist, else None."""
    exchange = open_exchange(recipe, run)
    return exchange if exchange is not None and exchange.is_written and not exchange.missing() else None


def _prepared(recipe: Recipe, run: Run) -> Iterator[tuple[str, np.ndarray, WindowPlan | None]]:
    for files in selected_cases(recipe, run):
        job = recipe.preparation.prepare_job(recipe.cases.read_case(files, run.params), run.params)
        yield files.id, job.image, job.plan


def _report(run: Run, exchange: Exchange, need: str) -> StageOutput:
    place = exchange.folder.relative_to(run.folder).as_posix()
    missing = exchange.missing()
    facts: dict[str, object] = {"on disk": need, "run in": f"{place}/ of this run's folder"}
    model = om_name(run)
    for index, line in enumerate(exchange.shown_commands(f"../../{model}"), start=1):
        facts[f"command {index}"] = line
    facts["model"] = f"{model}, written by the compile stage, or by its command on a machine with CANN"
    if missing:
        facts["outputs"] = f"{missing:,} files have no output yet; the pipeline continues in this process"
        next_step = "Run the command, copy its outputs back to the same folder, and run this notebook again."
        return StageOutput((), facts, {"answered": False}, next_step, "not run here")
    times = exchange.read_times()
    facts["outputs"] = (
        f"complete; {place}/input/ may be deleted, but keep the outputs, from which masks are made again"
    )
    if times is not None:
        facts["measured by the tool"] = f"{times} ({times.source})"
    return StageOutput((), facts, {"answered": True, "tool": exchange.tool.name}, "Make the masks from the outputs.")
