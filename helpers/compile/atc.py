"""Ascend's ATC: run without a shell, its log kept, its codes explained, its file found under the name it gave it."""

from __future__ import annotations

import logging
import shlex
import shutil
import tempfile
from pathlib import Path

from helpers.compile.atc_command import atc_command, sister_commands
from helpers.compile.cann import Cann, check_opset, find_cann, release_of
from helpers.compile.job import CompiledModel, CompileJob, Compiler, Report
from helpers.compile.npu_smi import find_soc_version, list_chips
from helpers.compile.program import ProgramEnd, run_logged
from helpers.errors import CompileError, ParameterError
from helpers.params.ascend_errors import atc_codes, explain_atc
from helpers.params.atc_options import AtcOptions
from helpers.params.targets import Target
from helpers.run.result import Check

_LOG = logging.getLogger("cookbook")
_MAGIC = b"IMOD"
_DOUBLE_SAYS = "double of ATC"  # in the log of the one that stands in for it where there is no CANN
_SHOWN_LINES = 6


class AtcCompiler(Compiler):
    """CANN's compiler, a program of its own."""

    runtime = "ascend"

    def identity(self, target: Target) -> dict[str, object] | None:
        """CANN's version, program and variables."""
        cann = find_cann()
        return cann.identity() if cann else None

    def inputs(self, job: CompileJob) -> dict[str, object]:
        """The whole command, and what stays in f32."""
        return {"command": _command(job, find_cann()), "files": self.side_files(job)}

    def commands(self, job: CompileJob) -> dict[str, str]:
        """ATC's own, and those for a model that is still too slow."""
        command = _command(job, find_cann())
        sisters = sister_commands(command, Path(job.graph_name), Path(job.output_name), job.spec)
        return {"atc": shlex.join(command), **sisters}

    def side_files(self, job: CompileJob) -> dict[str, str]:
        """The list of what stays in f32, where there is one."""
        kept = job.params.atc.keep_f32
        return {_keep_name(job): "".join(f"{name}\n" for name in kept)} if kept else {}

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Writes `<output>*.om` and ATC's log.

        ATC runs in a folder of its own that is laid out as the run's: the command is the one that is shown, nothing
        of the kernels it builds on the way stays, and no letter of the run's path can offend it.
        """
        cann = find_cann()
        if cann is None:
            raise CompileError("ATC is not on this machine", remedy=job.target.needs)
        check_opset(job.spec.opset, cann.version)
        command, log = _command(job, cann), output.with_suffix(".log")
        facts = _describe(command, cann)
        with tempfile.TemporaryDirectory(prefix="atc_") as name:
            folder = Path(name)
            self._lay_out(folder, job, graph)
            program = [str(cann.atc), *command[1:]]
            end = run_logged(program, log, job.params.atc.timeout_s, title="ATC", folder=folder, report=report)
            made = _find_output(folder / job.output_name, log, end)
            path = Path(shutil.move(made, output.parent / made.name))
        check = Check("the file is an OM", path.read_bytes()[: len(_MAGIC)] == _MAGIC, path.name)
        timings = {"atc": end.seconds, "atc_peak_rss_mb": end.peak_rss_mb}
        simulated = _DOUBLE_SAYS in log.read_text(encoding="utf-8", errors="replace")
        return CompiledModel((path,), job.batches, facts, (check,), timings, simulated)

    def _lay_out(self, folder: Path, job: CompileJob, graph: Path) -> None:
        for name in (job.graph_name, job.output_name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(graph, folder / job.graph_name)
        for name, text in self.side_files(job).items():
            (folder / name).write_text(text, encoding="utf-8")


def choose_soc_version(target: Target, options: AtcOptions) -> str:
    """The chip to compile for: the one named, the target's own, or the one that `npu-smi` finds.

    Raises:
        ParameterError: the target is for another chip, or leaves it open and there is none here.
    """
    choices = [target.soc_version, *target.soc_choices] if target.soc_version else target.soc_choices
    if options.soc_version:
        if choices and options.soc_version not in choices:
            received, expected = options.soc_version, " or ".join(choices)
            raise ParameterError(f"target {target.name} is for other chips", received=received, expected=expected)
        return options.soc_version
    found = find_soc_version() if not target.soc_version or target.soc_choices else None
    if found and (found in choices or not choices):
        return found
    if target.soc_version is None:
        raise ParameterError(
            "which chip is it",
            received="no answer from npu-smi that names it",
            remedy="Name it: -p atc '{soc_version: Ascend310P3}' (\"Ascend\" and the name in `npu-smi info`).",
        )
    return target.soc_version


def _command(job: CompileJob, cann: Cann | None) -> list[str]:
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
        keep_f32_file=Path(_keep_name(job)) if options.keep_f32 else None,
    )


def _keep_name(job: CompileJob) -> str:
    return f"{job.output_name}_keep_f32.txt"


def _describe(command: list[str], cann: Cann) -> dict[str, object]:
    facts: dict[str, object] = {"CANN": cann.version or "version not found"}
    busy = [str(chip) for chip in list_chips() if chip.is_busy]
    if busy:
        facts["busy"] = "; ".join(busy)
        _LOG.warning("other programs use the chips; timings will be wrong: %s", facts["busy"])
    asked = next(part for part in command if part.startswith("--soc_version=")).partition("=")[2]
    here = find_soc_version()
    if here and here != asked:
        facts["look at this"] = f"the .om is for {asked}; this machine has {here} and cannot run it"
    return facts


def _find_output(output: Path, log: Path, end: ProgramEnd) -> Path:
    text = log.read_text(encoding="utf-8", errors="replace")
    made = sorted(output.parent.glob(f"{output.name}*.om"))
    if end.exit_code == 0 and "ATC run failed" not in text and len(made) == 1:
        return made[0]
    raise explain_refusal(text, end.exit_code, f"compiled/{log.name}")


def explain_refusal(text: str, exit_code: int, log_name: str) -> CompileError:
    """ATC's report as one error: explained where the code is known, else raw with its last lines."""
    explanation = explain_atc(text)
    lines = [line.strip() for line in text.splitlines() if line.strip(" .\n")]
    if explanation is None:
        codes = ", ".join(atc_codes(text)) or "no code"
        received = f"exit code {exit_code}, {codes}; {' | '.join(lines[-_SHOWN_LINES:])}"
        return CompileError("ATC failed", received=received, remedy=f"The whole log: {log_name} in the run's folder.")
    (said, *_) = [line for line in lines if explanation.code in line]
    return CompileError(
        f"ATC refuses the graph ({explanation.code}): {explanation.problem}",
        received=f"“{said[:300]}”",
        remedy=f"{explanation.cause} {explanation.remedy} The whole log: {log_name} in the run's folder.",
    )
