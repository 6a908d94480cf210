"""The command of AMCT, Ascend's quantizer, for a graph and a run's calibration windows."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from helpers.graph.spec import GraphSpec

# Of the two models that it writes, this one is ATC's.
DEPLOYED = "_deploy_model.onnx"


def amct_command(graph: str, windows_folder: str, output: str, spec: GraphSpec) -> str:
    """`amct_onnx calibration` to paste into a shell in the run's folder; ATC then compiles `output` + `DEPLOYED`.

    Args:
        graph: the ONNX file.
        windows_folder: one float32 `.bin` a window; `calibration/windows.npz` holds them.
        output: path without suffix.
        spec: names and shapes.

    Source: Ascend samples, python/level1_single_api/9_amct/amct_onnx.
    """
    shape = ",".join(str(axis) for axis in spec.batch_shape(1))
    command = ["amct_onnx", "calibration", "--model", graph, "--input_shape", f"{spec.input_name}:{shape}"]
    command += ["--data_type", "float32", "--data_dir", windows_folder, "--save_path", output]
    return shlex.join(command)


def find_amct() -> Path | None:
    """AMCT's program, or None where it is not installed."""
    found = shutil.which("amct_onnx")
    return Path(found) if found else None
