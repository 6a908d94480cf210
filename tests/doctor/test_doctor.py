"""The doctor on machines of every kind."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.doctor import examine, hardware, report, software
from helpers.params.targets import Target, load_target, target_names


class TestReport:
    @pytest.fixture(scope="class")
    def examined(self):
        return examine()

    def test_reports_machine_packages_and_abilities(self, examined):
        assert set(examined.sections) == {"Machine", "Accelerators", "Packages", "Notes"}
        for fact in ("processor", "instruction sets", "RAM", "disk for outputs"):
            assert examined.sections["Machine"][fact]
        text = str(examined)
        assert "Targets that each notebook can use here" in text and "Needed for the other targets" in text

    def test_has_a_row_per_recipe_and_a_column_per_target(self, examined):
        from helpers import recipes

        header, *rows = examined.abilities
        assert header == ("notebook", *target_names())
        assert [row[0] for row in rows] == recipes.recipe_names()
        assert dict(zip(header, rows[0], strict=True))["cpu"] == "✓"

    def test_an_unavailable_target_has_a_remedy(self, examined):
        header, row, *_ = examined.abilities
        unable = {name for name, mark in zip(header[1:], row[1:], strict=True) if mark == "–"}
        assert set(examined.remedies) == unable
        assert all(examined.remedies.values())

    @pytest.mark.parametrize("name", target_names())
    def test_no_remedy_refers_to_the_doctor(self, name):
        assert "helpers doctor" not in load_target(name).needs

    def test_is_healthy_until_a_pinned_package_is_missing(self, examined, monkeypatch):
        assert examined.healthy
        monkeypatch.setattr(software, "package_version", lambda name: None if name == "netron" else "1")
        monkeypatch.setattr(report, "describe_packages", software.describe_packages)
        assert not examine().healthy

    def test_html_names_only_packages_that_differ(self, examined):
        assert "all as pinned" in examined._repr_html_() or "; pinned" in str(examined)


class TestPackages:
    def test_pins_are_read(self):
        pins = software.pinned_versions()
        assert pins["torch"] == "2.13.0" and len(pins) > 15

    @pytest.mark.parametrize(
        ("have", "shown"),
        [
            ("2.13.0", "2.13.0"),
            ("2.13.0+cpu", "2.13.0+cpu"),
            ("2.12.0", "2.12.0; pinned 2.13.0"),
            (None, "missing; pinned 2.13.0"),
        ],
    )
    def test_differences_are_reported(self, monkeypatch, have, shown):
        monkeypatch.setattr(software, "package_version", lambda name: have)
        assert software.describe_packages()["torch"] == shown

    @pytest.mark.parametrize(
        ("version", "installed", "expected"),
        [
            ("2.13.0+cpu", [], "CPU build"),
            ("2.13.0+cu130", [], "CUDA build (cu130)"),
            ("2.13.0", ["nvidia-cuda-runtime"], "CUDA build"),
            ("2.13.0", ["nvidia-ml-py"], "so a CPU build"),
            (None, [], "not installed"),
        ],
    )
    def test_the_build_of_torch(self, monkeypatch, version, installed, expected):
        monkeypatch.setattr(software, "package_version", lambda name: version)
        monkeypatch.setattr(software.metadata, "distributions", lambda: [SimpleNamespace(name=n) for n in installed])
        assert expected in software.describe_torch_build()
        assert ("CUDA build" in software.describe_torch_build()) == expected.startswith("CUDA")


class TestCann:
    @pytest.mark.parametrize(("file", "here"), [("acl.so", True), ("acl.cpython-311.so", True), ("acl.py", False)])
    def test_only_the_compiled_module_counts(self, tmp_path, monkeypatch, file, here):
        (tmp_path / file).write_text("raise RuntimeError('must not be imported')", encoding="utf-8")
        monkeypatch.setattr(
            software.importlib.util,
            "find_spec",
            lambda name: importlib.util.spec_from_file_location(name, tmp_path / file),
        )
        assert software.has_cann_module() is here

    def test_a_package_of_that_name_from_pip_does_not_end_the_doctor(self, tmp_path, monkeypatch):
        (tmp_path / "acl.py").write_text("raise RuntimeError('must not be imported')", encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        assert report._can_run(Target(name="npu", title="NPU", runtime="ascend")) is False


class TestAbility:
    def test_another_interpreter_counts_if_it_exists(self, tmp_path):
        (tmp_path / "python").write_text("", encoding="utf-8")
        there, gone = str(tmp_path / "python"), str(tmp_path / "nothing")
        able = [Target(name="t", title="T", runtime="ascend", python=path) for path in (there, gone)]
        assert [report._can_run(target) for target in able] == [True, False]

    def test_cuda_needs_the_build_and_a_device(self, monkeypatch):
        target = Target(name="cuda", title="CUDA", runtime="torch", device="CUDA")
        monkeypatch.setattr(report, "describe_torch_build", lambda: "2.13.0: no CUDA packages, so a CPU build")
        assert report._can_run(target) is False
        monkeypatch.setattr(report, "describe_torch_build", lambda: "2.13.0+cu130: CUDA build (cu130)")
        monkeypatch.setattr(report.Path, "glob", lambda self, pattern: iter([Path("/dev/nvidia3")]))
        assert report._can_run(target) is True
        monkeypatch.setattr(report.Path, "glob", lambda self, pattern: iter([]))
        assert report._can_run(target) is False


class TestHardware:
    CPUINFO = "processor : 0\nflags : fpu avx2 avx512_vnni amx_tile\n"

    def _cpu(self, monkeypatch, text: str | None) -> dict[str, str]:
        def read_text(self, **_):
            if text is None:
                raise FileNotFoundError
            return text

        monkeypatch.setattr(hardware.Path, "read_text", read_text)
        return hardware.describe_cpu()

    def test_instruction_sets_are_reported(self, monkeypatch):
        facts = self._cpu(monkeypatch, self.CPUINFO)
        assert facts["instruction sets"] == "avx2, avx512_vnni, amx_tile"
        assert (facts["bf16 in hardware"], facts["int8 dot products"]) == ("yes", "yes")

    def test_arm_names_them_features(self, monkeypatch):
        facts = self._cpu(monkeypatch, "Features : fp asimd bf16 i8mm\n")
        assert facts["instruction sets"] == "asimd, bf16, i8mm"

    def test_an_old_processor_is_not_faster_in_bf16(self, monkeypatch):
        facts = self._cpu(monkeypatch, "flags : avx2 avx512f\n")
        assert "not faster" in facts["bf16 in hardware"] and facts["int8 dot products"] == "no"

    def test_a_system_without_cpuinfo(self, monkeypatch):
        assert self._cpu(monkeypatch, None)["instruction sets"] == "none of the relevant ones"

    def _tool(self, tmp_path, monkeypatch, script: bytes) -> str:
        tool = tmp_path / "npu-smi"
        tool.write_bytes(b"#!/bin/sh\n" + script)
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return hardware.describe_accelerators()["Ascend NPU"]

    def test_runs_the_vendors_tool(self, tmp_path, monkeypatch):
        assert self._tool(tmp_path, monkeypatch, b"echo 'Total Count : 1'; echo; echo 'NPU ID : 2'") == (
            "Total Count : 1; NPU ID : 2"
        )

    def test_a_failing_tool_is_reported(self, tmp_path, monkeypatch):
        assert self._tool(tmp_path, monkeypatch, b"exit 7") == "npu-smi failed with exit code 7"

    def test_a_tool_that_prints_gbk_does_not_end_the_doctor(self, tmp_path, monkeypatch):
        assert self._tool(tmp_path, monkeypatch, b"printf '\\311\\350\\261\\270 310P3\\n'").endswith("310P3")

    def test_a_missing_tool_is_reported(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        facts = hardware.describe_accelerators()
        assert facts["Ascend NPU"] == "none (npu-smi not found)"
        assert "not from pip" in facts["atc (CANN)"]
