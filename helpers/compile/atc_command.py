"""The command line of ATC for a graph, a chip and the run's options; and those of its sister programs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from helpers.errors import ParameterError
from helpers.graph.spec import GraphSpec
from helpers.params.atc_options import AtcOptions
from helpers.params.targets import Precision

# The run's precision in the older and in the newer option.
_MODES = {
    "f16": ("force_fp16", "fp16"),
    "f32": ("must_keep_origin_dtype", "origin"),
    "bf16": ("allow_mix_precision_bf16", "mixed_bfloat16"),
}


def atc_command(
    graph: Path,
    output: Path,
    spec: GraphSpec,
    soc_version: str,
    batches: Sequence[int] = (1,),
    *,
    precision: Precision = "f16",
    options: AtcOptions | None = None,
    precision_mode_v2: bool = False,
    keep_f32_file: Path | None = None,
) -> list[str]:
    """ATC's command line as a list.

    Args:
        graph: the ONNX file (framework 5).
        output: the path of the `.om` without its suffix; ATC may add the platform's name before `.om`.
        spec: names and shapes; 5-D inputs need the NCDHW format.
        soc_version: the chip.
        batches: one fixed batch size, or several as gears.
        precision: that the model runs in, unless an option says otherwise.
        options: the run's.
        precision_mode_v2: whether this CANN knows the newer option.
        keep_f32_file: holds what stays in f32, one a line.

    Raises:
        ParameterError: ATC has no mode for the precision, or a gear does not fit the graph.
    """
    options = options or AtcOptions()
    command = ["atc", "--framework=5", f"--model={graph}", f"--output={output}"]
    command += _shapes(spec, sorted(batches), options.dims_gears)
    command += [f"--soc_version={soc_version}", _precision_flag(precision, options, precision_mode_v2)]
    if keep_f32_file is not None:
        command.append(f"--keep_dtype={keep_f32_file}")
    return [*command, *_chosen(options, spec), f"--log={options.log}", *options.extra]


def sister_commands(command: Sequence[str], graph: Path, output: Path, spec: GraphSpec) -> dict[str, str]:
    """Commands of CANN's other programs for a model that is still too slow, by what they are for."""
    shared = [part for part in command[1:] if not part.startswith(("--output=", "--soc_version=", "--keep_dtype="))]
    shape = ",".join(str(axis) for axis in spec.batch_shape(1))
    measured = ["msame", "--model", f"{output}.om", "--output", f"{output}_msprof", "--loop", "20"]
    calibrate = ["amct_onnx", "calibration", "--model", str(graph), "--input_shape", f"{spec.input_name}:{shape}"]
    calibrate += ["--data_type", "float32", "--data_dir", "calibration", "--save_path", f"{output}_int8"]
    return {
        "too slow? tune the kernels": shlex.join(["aoe", "--job_type=2", f"--output={output}_aoe", *shared]),
        "too slow? find the slow ops": shlex.join(
            ["msprof", f"--output={output}_msprof", f"--application={shlex.join(measured)}"]
        ),
        "too slow? quantise (calibration/ holds inputs as .bin)": shlex.join(calibrate),
    }


def _shapes(spec: GraphSpec, batches: Sequence[int], dims_gears: Sequence[Sequence[int]]) -> list[str]:
    if dims_gears:
        return _shapes_of_dims(spec, dims_gears)
    first = batches[0] if len(batches) == 1 else -1
    shape = ",".join(str(axis) for axis in (first, *spec.input_shape))
    flags = [f"--input_format={spec.input_format}", f"--input_shape={spec.input_name}:{shape}"]
    if len(batches) > 1:
        flags.append("--dynamic_batch_size=" + ",".join(str(batch) for batch in batches))
    return flags


def _shapes_of_dims(spec: GraphSpec, gears: Sequence[Sequence[int]]) -> list[str]:
    if any(len(gear) != len(spec.input_shape) + 1 for gear in gears):
        raise ParameterError("dims_gears do not fit the graph", received=gears, expected=["N", *spec.input_shape])
    axes = list(zip(*gears, strict=True))
    is_open = [len(set(axis)) > 1 for axis in axes]
    shape = ",".join("-1" if opened else str(axis[0]) for axis, opened in zip(axes, is_open, strict=True))
    values = [",".join(str(size) for size, opened in zip(gear, is_open, strict=True) if opened) for gear in gears]
    return ["--input_format=ND", f"--input_shape={spec.input_name}:{shape}", f"--dynamic_dims={';'.join(values)}"]


def _precision_flag(precision: Precision, options: AtcOptions, v2: bool) -> str:
    if options.precision_mode:
        return f"--precision_mode={options.precision_mode}"
    if options.precision_mode_v2:
        return f"--precision_mode_v2={options.precision_mode_v2}"
    if precision not in _MODES:
        raise ParameterError("ATC has no mode for this precision", received=precision, expected=" or ".join(_MODES))
    older, newer = _MODES[precision]
    return f"--precision_mode_v2={newer}" if v2 else f"--precision_mode={older}"


def _chosen(options: AtcOptions, spec: GraphSpec) -> list[str]:
    flags = []
    if options.op_select_implmode:
        flags.append(f"--op_select_implmode={options.op_select_implmode}")
    if options.optypelist_for_implmode:
        flags.append(f"--optypelist_for_implmode={','.join(options.optypelist_for_implmode)}")
    if options.out_nodes:
        flags.append(f"--out_nodes={';'.join(options.out_nodes)}")
    if options.output_type:
        flags.append(f"--output_type={options.output_type}")
    if options.f16_input:
        flags.append(f"--input_fp16_nodes={spec.input_name}")
    return flags
