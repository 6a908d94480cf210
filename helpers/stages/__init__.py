"""The stages of every notebook; each returns a result that shows itself and is recorded in the run."""

from helpers.stages.calibration import prepare_calibration
from helpers.stages.compile import compile_model, show_vendor_commands
from helpers.stages.data import prepare_data
from helpers.stages.device_tool import exchange_with_tool
from helpers.stages.figures import draw_results
from helpers.stages.graph import apply_surgery, export_onnx, inspect_graph, lint_graph, simplify_onnx
from helpers.stages.infer import infer_cases
from helpers.stages.parameter_table import show_parameters
from helpers.stages.parity import check_model_parity
from helpers.stages.previous import run_previous_stage
from helpers.stages.score import score_as_source, score_cases
from helpers.stages.start import start_run
from helpers.stages.summary import finish_run
from helpers.stages.viewers import open_case, open_graph

__all__ = [
    "apply_surgery",
    "check_model_parity",
    "compile_model",
    "draw_results",
    "exchange_with_tool",
    "export_onnx",
    "finish_run",
    "infer_cases",
    "inspect_graph",
    "lint_graph",
    "open_case",
    "open_graph",
    "prepare_calibration",
    "prepare_data",
    "run_previous_stage",
    "score_as_source",
    "score_cases",
    "show_parameters",
    "show_vendor_commands",
    "simplify_onnx",
    "start_run",
]
