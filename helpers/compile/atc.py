"""Ascend's compiler ATC (its command line, its run and its errors) and the commands of related CANN tools."""

from __future__ import annotations

import logging
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from helpers.compile.base import CompiledModel, CompileJob, Compiler, Report
from helpers.compile.cann import Cann, check_opset, find_cann, release_of
from helpers.compile.npu_smi import find_soc_version, list_npu_devices
from helpers.compile.process import ProgramResult, run_logged
from helpers.errors import CompileError, ParameterError
from helpers.graph.spec import GraphSpec
from helpers.params.ascend_errors import atc_codes, explain_atc
from helpers.params.atc_options import AtcOptions
from helpers.params.targets import Precision, Target
from helpers.run.result import Check

_LOG = logging.getLogger("cookbook")
_OM_MAGIC = b"IMOD"
_DOUBLE_MARK = "double of ATC"  # the double that replaces ATC in tests prints this
_SHOWN_LINES = 6
_QUOTED_LINES, _QUOTED_CHARACTERS = 20, 300
# `Op [resize_12, optype [Resize]]`, `Optype [Resize]`, `op_name: resize_12`, `node[resize_12]`, `op type is Resize`.
_OPERATOR = re.compile(r"\b(?:op|ops|operator|node)[ _]?(?:type|name)?\s*(?:[\[:=]|is\b)", re.IGNORECASE)
_PLACE_IN_CODE = re.compile(r"\s*(?:\[(?:FUNC|FILE|LINE|THREAD):[^\]]*\])+")
# A run's precision as precision_mode and as the newer precision_mode_v2.
_PRECISION_MODES = {
    "f16": ("force_fp16", "fp16"),
    "f32": ("must_keep_origin_dtype", "origin"),
    "bf16": ("allow_mix_precision_bf16", "mixed_bfloat16"),
}


class AtcCompiler(Compiler):
    """CANN's compiler, a separate program."""

    runtime = "ascend"

    def identity(self, target: Target) -> dict[str, object] | None:
        """CANN's version, program and variables."""
        cann = find_cann()
        return cann.identity() if cann else None

    def inputs(self, job: CompileJob) -> dict[str, object]:
        """The complete command, and the list of ops that stay in f32."""
        return {"command": _command_of_job(job, find_cann()), "files": self.side_files(job)}

    def commands(self, job: CompileJob) -> dict[str, str]:
        """ATC's command, and commands that help if the model is too slow."""
        command = _command_of_job(job, find_cann())
        tuning = tuning_commands(command, Path(job.graph_name), Path(job.output_name), job.spec)
        return {"atc": shlex.join(command), **tuning}

    def side_files(self, job: CompileJob) -> dict[str, str]:
        """The list of ops that stay in f32, if any."""
        keep = job.params.atc.keep_f32
        return {_keep_f32_name(job): "".join(f"{name}\n" for name in keep)} if keep else {}

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Writes `<output>*.om` and ATC's log.

        ATC runs in a temporary folder with the layout of the run folder. So the command is exactly the one that is
        shown, intermediate kernels are discarded, and special characters in the run's path do no harm.
        """
        cann = find_cann()
        if cann is None:
            raise CompileError("ATC is not on this machine", remedy=f"Needed: {job.target.needs}")
        check_opset(job.spec.opset, cann.version)
        command, log = _command_of_job(job, cann), output.with_suffix(".log")
        facts = _describe_host(command, cann)
        with tempfile.TemporaryDirectory(prefix="atc_") as name:
            folder = Path(name)
            self._copy_inputs(folder, job, graph)
            program = [str(cann.atc), *command[1:]]
            result = run_logged(program, log, job.params.atc.timeout_s, title="ATC", folder=folder, report=report)
            made = _find_om(folder / job.output_name, log, result)
            path = Path(shutil.move(made, output.parent / made.name))
        check = Check("the file is an OM", path.read_bytes()[: len(_OM_MAGIC)] == _OM_MAGIC, path.name)
        timings = {"atc": result.seconds, "atc_peak_rss_mb": result.peak_rss_mb}
        simulated = _DOUBLE_MARK in _read_log(log)
        return CompiledModel((path,), job.batches, facts, (check,), timings, simulated)

    def _copy_inputs(self, folder: Path, job: CompileJob, graph: Path) -> None:
        for name in (job.graph_name, job.output_name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(graph, folder / job.graph_name)
        for name, text in self.side_files(job).items():
            (folder / name).write_text(text, encoding="utf-8")


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
        output: the path of the `.om` without its suffix; ATC may insert the platform's name before `.om`.
        spec: names and shapes; 5-D inputs need the NCDHW format.
        soc_version: the kind of device.
        batches: one fixed batch size, or several as gears.
        precision: precision of the computation, unless an option overrides it.
        options: the run's options for ATC.
        precision_mode_v2: whether this CANN release has the newer option.
        keep_f32_file: lists the ops that stay in f32, one name per line.

    Raises:
        ParameterError: ATC has no mode for the precision, or a gear does not fit the graph.
    """
    options = options or AtcOptions()
    command = ["atc", "--framework=5", f"--model={graph}", f"--output={output}"]
    command += _shape_flags(spec, sorted(batches), options.dims_gears)
    command += [f"--soc_version={soc_version}", _precision_flag(precision, options, precision_mode_v2)]
    if keep_f32_file is not None:
        command.append(f"--keep_dtype={keep_f32_file}")
    return [*command, *_option_flags(options, spec), f"--log={options.log}", *options.extra]


def _shape_flags(spec: GraphSpec, batches: Sequence[int], dims_gears: Sequence[Sequence[int]]) -> list[str]:
    if dims_gears:
        return _dims_gear_flags(spec, dims_gears)
    first = batches[0] if len(batches) == 1 else -1
    shape = ",".join(str(axis) for axis in (first, *spec.input_shape))
    flags = [f"--input_format={spec.input_format}", f"--input_shape={spec.input_name}:{shape}"]
    if len(batches) > 1:
        flags.append("--dynamic_batch_size=" + ",".join(str(batch) for batch in batches))
    return flags


def _dims_gear_flags(spec: GraphSpec, gears: Sequence[Sequence[int]]) -> list[str]:
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
    if precision not in _PRECISION_MODES:
        expected = " or ".join(_PRECISION_MODES)
        raise ParameterError("ATC has no mode for this precision", received=precision, expected=expected)
    older, newer = _PRECISION_MODES[precision]
    return f"--precision_mode_v2={newer}" if v2 else f"--precision_mode={older}"


def _option_flags(options: AtcOptions, spec: GraphSpec) -> list[str]:
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


def tuning_commands(command: Sequence[str], graph: Path, output: Path, spec: GraphSpec) -> dict[str, str]:
    """Commands of CANN's other programs for a model that is too slow, by purpose.

    Args:
        command: ATC's own.
        graph: the ONNX file.
        output: the compiled file without its suffix.
        spec: names and shapes.
    """
    shared = [part for part in command[1:] if not part.startswith(("--output=", "--soc_version=", "--keep_dtype="))]
    measured = ["msame", "--model", f"{output}.om", "--output", f"{output}_msprof", "--loop", "20"]
    profile = ["msprof", f"--output={output}_msprof", f"--application={shlex.join(measured)}"]
    return {
        "if too slow, tune the kernels": shlex.join(["aoe", "--job_type=2", f"--output={output}_aoe", *shared]),
        "if too slow, profile the ops": shlex.join(profile),
        "if too slow, quantise (calibration/ contains inputs as .bin)": amct_command(
            str(graph), "calibration", f"{output}_int8", spec
        ),
    }


def amct_command(graph: str, windows_folder: str, output: str, spec: GraphSpec) -> str:
    """The `amct_onnx calibration` command of Ascend's quantiser, for a shell in the run folder.

    The command writes two models; `<output>_deploy_model.onnx` is the one for ATC.

    Args:
        graph: the ONNX file.
        windows_folder: folder with one float32 `.bin` file per window.
        output: path without suffix.
        spec: names and shapes.

    Source: Ascend samples, python/level1_single_api/9_amct/amct_onnx.
    """
    shape = ",".join(str(axis) for axis in spec.batch_shape(1))
    command = ["amct_onnx", "calibration", "--model", graph, "--input_shape", f"{spec.input_name}:{shape}"]
    command += ["--data_type", "float32", "--data_dir", windows_folder, "--save_path", output]
    return shlex.join(command)


def find_amct() -> Path | None:
    """The AMCT program, or None if it is not installed."""
    found = shutil.which("amct_onnx")
    return Path(found) if found else None


def choose_soc_version(target: Target, options: AtcOptions) -> str:
    """The SoC version to compile for: the option's, the target's own, or the one that `npu-smi` reports.

    Raises:
        ParameterError: the target is for other devices, or it does not name one and this machine has none.
    """
    choices = [target.soc_version, *target.soc_choices] if target.soc_version else target.soc_choices
    if options.soc_version:
        if choices and options.soc_version not in choices:
            received, expected = options.soc_version, " or ".join(choices)
            raise ParameterError(f"target {target.name} is for other devices", received=received, expected=expected)
        return options.soc_version
    found = find_soc_version() if not target.soc_version or target.soc_choices else None
    if found and (found in choices or not choices):
        return found
    if target.soc_version is None:
        raise ParameterError(
            "cannot determine the SoC version",
            received="no device that npu-smi identifies",
            remedy="Set it: -p atc '{soc_version: Ascend310P3}' (\"Ascend\" and the name in `npu-smi info`).",
        )
    return target.soc_version


def _command_of_job(job: CompileJob, cann: Cann | None) -> list[str]:
    options = job.params.atc
    release = release_of(options.cann or (cann.version if cann else None))
    return atc_command(
        Path(job.graph_name),
        Path(job.output_name),
        job.spec,
        choose_soc_version(job.target, options),
        job.batches,
        precision=job.precision,
        options=options,
        precision_mode_v2=bool(release and release.precision_mode_v2),
        keep_f32_file=Path(_keep_f32_name(job)) if options.keep_f32 else None,
    )


def _keep_f32_name(job: CompileJob) -> str:
    return f"{job.output_name}_keep_f32.txt"


def _describe_host(command: list[str], cann: Cann) -> dict[str, object]:
    facts: dict[str, object] = {"CANN": cann.version or "unknown version"}
    busy = [str(device) for device in list_npu_devices() if device.is_busy]
    if busy:
        facts["busy"] = "; ".join(busy)
        _LOG.warning("other programs use the NPU, so timings are unreliable: %s", facts["busy"])
    requested = next(part for part in command if part.startswith("--soc_version=")).partition("=")[2]
    found = find_soc_version()
    if found and found != requested:
        facts["note"] = f"the .om is for {requested}; this machine has {found} and cannot run it"
    return facts


def _find_om(output: Path, log: Path, result: ProgramResult) -> Path:
    text = _read_log(log)
    made = sorted(output.parent.glob(f"{output.name}*.om"))
    if result.exit_code == 0 and "ATC run failed" not in text and len(made) == 1:
        return made[0]
    raise _explain_failure(text, result.exit_code, f"compiled/{log.name}")


def _explain_failure(text: str, exit_code: int, log_name: str) -> CompileError:
    """Turns ATC's report into one error: with an explanation if the code is known, else with the last lines."""
    explanation = explain_atc(text)
    lines = [line.strip() for line in text.splitlines() if line.strip(" .\n")]
    see_log = f"The complete log is {log_name} in the run folder."
    if explanation is None:
        codes = ", ".join(atc_codes(text)) or "no code"
        received = f"exit code {exit_code}, {codes}; {' | '.join(lines[-_SHOWN_LINES:])}"
        return CompileError("ATC failed", received=received, remedy=see_log)
    return CompileError(
        f"ATC rejects the graph ({explanation.code}): {explanation.problem}",
        received=_quote(lines, explanation.code),
        remedy=f"{explanation.cause} {explanation.remedy} {see_log}",
    )


def _quote(lines: Sequence[str], code: str) -> str:
    """What ATC said with a code, and every operator that it names, there or in the lines of its TraceBack."""
    said = [line for line in lines if code in line]
    names = (line for line in lines if _OPERATOR.search(line))
    quoted = dict.fromkeys(_PLACE_IN_CODE.sub("", line)[:_QUOTED_CHARACTERS] for line in (said[0], *names))
    shown = [f"“{line}”" for line in list(quoted)[:_QUOTED_LINES]]
    more = len(quoted) - len(shown)
    return " ".join(shown) + (f" and {more} more lines that name an operator" if more else "")


def _read_log(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")
