"""Running ATC: its file is found, its log kept, its errors explained, and its environment separate."""

from __future__ import annotations

import json
import os
import stat
import sys
import time

import psutil
import pytest

from helpers.compile.atc import AtcCompiler, _explain_failure, choose_soc_version
from helpers.compile.npu_smi import NpuDevice
from helpers.errors import CompileError, ParameterError
from helpers.params import load_target
from helpers.params.atc_options import AtcOptions

COMPILER = AtcCompiler()


def compile_job(job, tmp_path, report=lambda line: None):
    job, graph = job
    output = tmp_path / "a run's folder" / "compiled" / "model"
    output.parent.mkdir(parents=True, exist_ok=True)
    return COMPILER.compile(job, graph, output, report)


def describe_om(path) -> dict:
    """The description that the double writes into an OM: the options that it received."""
    content = path.read_bytes()
    start = content.index(b"{")
    return json.JSONDecoder().raw_decode(content[start:].decode("latin-1"))[0]


@pytest.mark.parametrize("suffix", ["", "_linux_x86_64", "_linux_aarch64"])
def test_the_file_is_found_under_the_name_that_atc_gave_it(cann, norm_job, tmp_path, suffix):
    cann(OM_SUFFIX=suffix)
    done = compile_job(norm_job(), tmp_path)
    assert [path.name for path in done.files] == [f"model{suffix}.om"]
    assert done.files[0].read_bytes()[:4] == b"IMOD"
    assert done.checks[0].passed and done.batches == (1,)
    assert "ATC run success" in done.files[0].with_name("model.log").read_text(encoding="utf-8")
    assert done.timings["atc"] > 0 and sorted(os.listdir(done.files[0].parent)) == sorted(
        ["model.log", f"model{suffix}.om"]
    )


@pytest.mark.parametrize("version", ["5.0.3", "5.1.RC1", "6.0.1", "7.0.0", "8.0.RC2"])
def test_every_release_accepts_the_graph_and_receives_its_own_form_of_the_precision(
    cann, norm_job, tmp_path, version
):
    cann(version, CANN=version.split(".")[0])
    done = compile_job(norm_job(), tmp_path)
    options = describe_om(done.files[0])["atc"]
    assert options["precision_mode_v2" if version >= "7" else "precision_mode"] == (
        "fp16" if version >= "7" else "force_fp16"
    )
    assert done.facts["CANN"] == version


def test_gears_are_in_the_file(cann, norm_job, tmp_path):
    cann()
    done = compile_job(norm_job(batch_size=2, batch_gears=[1, 2, 4]), tmp_path)
    assert done.batches == (1, 2, 4)
    assert describe_om(done.files[0])["gears"] == {"kind": "batch", "values": [[1], [2], [4]]}


def test_size_gears_and_f32_layers_reach_atc(cann, norm_job, tmp_path):
    cann()
    gears = [[1, 2, 4, 4, 4], [2, 2, 8, 4, 4]]
    done = compile_job(norm_job(atc={"dims_gears": gears, "keep_f32": ["norm", "OpType::Resize"]}), tmp_path)
    told = describe_om(done.files[0])
    assert told["gears"] == {"kind": "dims", "values": [[1, 4], [2, 8]]}
    assert told["atc"]["keep_dtype"] == "compiled/model_keep_f32.txt"


@pytest.mark.parametrize("style", ["new", "old"])
@pytest.mark.parametrize(
    ("language", "message"), [("en_GB.UTF-8", "CANN 5.0.4 cannot compile"), ("zh_CN.UTF-8", "无法编译")]
)
def test_the_defect_of_5_0_4_is_explained(cann, norm_job, tmp_path, monkeypatch, style, language, message):
    monkeypatch.setenv("LC_ALL", language)
    cann("5.0.4", CANN="5.0.4", ATC_STYLE=style)
    with pytest.raises(CompileError, match="E90003") as refusal:
        compile_job(norm_job(), tmp_path)
    line = refusal.value.line()
    assert message in line and "tuple_reduce_sum" in line and "5.1" in line and "compiled/model.log" in line
    assert not list(tmp_path.rglob("*.om"))


@pytest.mark.parametrize("version", ["6.0.1", None])
def test_an_unsupported_opset_is_rejected_before_atc_runs_or_explained_afterwards(cann, norm_job, tmp_path, version):
    cann(version, CANN="6")
    with pytest.raises(CompileError) as refusal:
        compile_job(norm_job(opset=15), tmp_path)
    line = refusal.value.line()
    assert "opset 11" in line or "`opset: 11`" in line
    assert line.startswith("CANN 6.0.1 does not support this opset: received 15, expected 9 to 13") is bool(version)
    assert ("E16002" in line) is (version is None)
    assert (tmp_path / "a run's folder" / "compiled" / "model.log").exists() is (version is None)


def test_an_unknown_code_is_shown_with_the_last_lines(norm_job, tmp_path, fake_atc):
    fake_atc("print('first'); print('ATC run failed'); print('X1234 and E77: unknown'); sys.exit(3)")
    with pytest.raises(CompileError) as refusal:
        compile_job(norm_job(), tmp_path)
    assert "exit code 3, no code; first | ATC run failed | X1234 and E77: unknown" in refusal.value.line()


@pytest.mark.parametrize("ending", ["sys.exit(0)", "print('ATC run failed')"])
def test_an_exit_code_of_0_without_a_file_is_a_failure(norm_job, tmp_path, fake_atc, ending):
    fake_atc(ending)
    with pytest.raises(CompileError, match="ATC failed"):
        compile_job(norm_job(), tmp_path)


def test_a_compilation_that_takes_too_long_is_killed_with_its_children(norm_job, tmp_path, fake_atc):
    fake_atc(
        "import subprocess; child = subprocess.Popen(['sleep', '60']);"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    started, said = time.monotonic(), []
    with pytest.raises(CompileError, match=r"ATC took longer than 0\.5 s"):
        compile_job(norm_job(atc={"timeout_s": 0.5}), tmp_path, said.append)
    assert time.monotonic() - started < 20
    assert said and said[0].startswith("ATC has been running for 0 s and uses ")
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    deadline = time.monotonic() + 5  # the kernel delivers the signal after the parent has been reaped
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child is still running"
        time.sleep(0.05)


def test_atc_receives_the_python_path_of_cann_without_ours(norm_job, tmp_path, fake_atc, monkeypatch):
    ours = os.path.join(sys.prefix, "lib", "somewhere")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/usr/local/Ascend/python/site-packages", os.getcwd(), ours]))
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    fake_atc("print('|'.join([os.environ['PYTHONPATH'], os.environ.get('VIRTUAL_ENV', 'none')])); sys.exit(1)")
    with pytest.raises(CompileError, match=r"/usr/local/Ascend/python/site-packages\|none"):
        compile_job(norm_job(), tmp_path)


@pytest.fixture
def fake_atc(tmp_path, monkeypatch):
    """An `atc` of a few lines."""

    def write(body: str) -> None:
        program = tmp_path / "bin" / "atc"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\nimport os, sys, time\n{body}\n", encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH"):
            monkeypatch.delenv(name, raising=False)

    return write


class TestSocVersion:
    @pytest.mark.parametrize("smi", ["310p", "duo", "910b"])
    def test_an_open_target_takes_that_of_the_machine(self, cann, smi):
        cann(SMI=smi, SOC="Ascend310P1")
        assert choose_soc_version(load_target("ascend"), AtcOptions()) == "Ascend310P1"

    def test_a_card_that_reports_only_its_family_requires_the_option(self, cann):
        cann(SMI="a3", SOC="Ascend910_9391")
        with pytest.raises(ParameterError, match="soc_version: Ascend310P3"):
            choose_soc_version(load_target("ascend"), AtcOptions())
        named = AtcOptions(soc_version="Ascend910_9391")
        assert choose_soc_version(load_target("ascend"), named) == "Ascend910_9391"

    def test_a_family_target_takes_the_member_in_the_machine(self, cann):
        cann(SMI="910b", SOC="Ascend910B4")
        assert choose_soc_version(load_target("ascend910b"), AtcOptions()) == "Ascend910B4"

    def test_a_family_target_without_a_card_takes_its_default_or_the_option(self, monkeypatch):
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        assert choose_soc_version(load_target("ascend910b"), AtcOptions()) == "Ascend910B3"
        assert choose_soc_version(load_target("ascend910b"), AtcOptions(soc_version="Ascend910B1")) == "Ascend910B1"
        with pytest.raises(ParameterError, match="target ascend910b is for other devices"):
            choose_soc_version(load_target("ascend910b"), AtcOptions(soc_version="Ascend310P3"))

    def test_a_file_for_another_device_comes_with_a_warning(self, cann, norm_job, tmp_path):
        cann(SOC="Ascend310B1")
        done = compile_job(norm_job(), tmp_path)
        assert done.facts["note"] == "the .om is for Ascend310P3; this machine has Ascend310B1 and cannot run it"


def test_a_busy_device_is_reported_with_a_warning(cann, norm_job, tmp_path, monkeypatch, caplog):
    cann()
    busy, idle = (NpuDevice(0, n, "310P3", "OK", load, 1, 2, 0) for n, load in enumerate((87.0, 0.0)))
    monkeypatch.setattr("helpers.compile.atc.list_npu_devices", lambda: [busy, idle])
    done = compile_job(norm_job(), tmp_path)
    assert done.facts["busy"] == "NPU 0 chip 0: 310P3, OK, AI core 87 %, 1 of 2 MB"
    assert "timings are unreliable" in caplog.text


class TestIdentity:
    def test_there_is_none_without_cann(self, monkeypatch):
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        assert COMPILER.identity(load_target("ascend310p3")) is None

    def test_a_different_release_is_a_different_compiler(self, cann):
        seen = []
        for version in ("7.0.0", "8.0.RC1"):
            cann(version)
            seen.append(COMPILER.identity(load_target("ascend310p3")))
        assert [each["version"] for each in seen] == ["7.0.0", "8.0.RC1"] and seen[0] != seen[1]

    def test_log_folders_do_not_matter(self, cann, monkeypatch):
        cann()
        before = COMPILER.identity(load_target("ascend310p3"))
        monkeypatch.setenv("ASCEND_PROCESS_LOG_PATH", "/var/log")
        assert COMPILER.identity(load_target("ascend310p3")) == before
        monkeypatch.setenv("ASCEND_CUSTOM_OPP_PATH", "/opt/ops")
        assert COMPILER.identity(load_target("ascend310p3")) != before


REPORT = """
ATC run failed, Please check the detail log, Try 'atc --help' for more information
EZ3002: [PID: 7] 2026-01-02-03:04:05.678 Optype [Resize] of Ops kernel [AIcoreEngine] is unsupported. Reason: [x]
        Solution: Check the input.
        TraceBack (most recent call last):
        No supported Ops kernel and engine are found for [Resize_12], optype [Resize].[FUNC:Select][FILE:e.cc][LINE:7]
        No supported Ops kernel and engine are found for [Mod_3], optype [Mod].[FUNC:Select][FILE:e.cc][LINE:7]
        Call OptimizeSubgraph failed.[FUNC:Optimize][FILE:g.cc][LINE:9]
"""


def test_every_operator_of_a_traceback_is_quoted():
    line = _explain_failure(REPORT, 255, "compiled/model.log").line()
    for name in ("Optype [Resize] of Ops kernel", "[Resize_12], optype [Resize]", "[Mod_3], optype [Mod]"):
        assert name in line
    assert "FUNC" not in line and "OptimizeSubgraph" not in line


def test_every_operator_without_a_parser_is_quoted_up_to_a_number():
    report = "\n".join(
        f"E19010: No parser is registered for Op [n{i}, optype [ai.onnx::11::T{i}]]." for i in range(30)
    )
    line = _explain_failure(report, 1, "compiled/model.log").line()
    assert "n0, optype" in line and "n19, optype" in line and "and 10 more lines that name an operator" in line
    assert "n20, optype" not in line
