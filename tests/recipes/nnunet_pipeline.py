"""Runs every stage with a model folder, as a notebook does, but without pictures."""

from __future__ import annotations

import logging
from pathlib import Path

from helpers import stages
from helpers.run import Run


def run_pipeline(name: str, outputs: Path, **given: object) -> Run:
    """Runs every stage from the data to the end, and returns the finished run."""
    recipe, run = stages.start_run(name, {"profile": "cpu", "outputs": str(outputs), "interactive": False, **given})
    try:
        for step in (
            stages.prepare_data,
            stages.export_onnx,
            stages.simplify_onnx,
            stages.apply_surgery,
            stages.inspect_graph,
            stages.lint_graph,
            stages.compile_model,
            stages.show_vendor_commands,
            stages.check_model_parity,
            stages.infer_cases,
            stages.score_cases,
            stages.finish_run,
        ):
            step(recipe, run)
    finally:
        run.record.end("passed")
        logger = logging.getLogger("cookbook")
        for handler in [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]:
            logger.removeHandler(handler)
            handler.close()
    return run
