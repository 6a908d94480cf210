"""`export`, `compile`, `infer` and `score` as a user types them, with the tiny recipe and from one folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers import cli
from helpers.interop.bundle import read_bundle

SLOW = pytest.mark.slow
ASKED = ["-p", "target", "onnxruntime", "-p", "cases", "case_1,case_3", "-p", "simplify_timeout_s", "0.001"]


@pytest.fixture
def say(tiny, tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder: `say("export", "tiny", ...)` gives (exit code, what was printed)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str]:
        code = cli.main(list(words))
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


def masks(outputs: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in outputs.glob("tiny/*/masks/*")}


def test_each_command_names_the_next(say, outputs, tmp_path):
    steps = (
        ("export", "tiny", "--to", "mine", *ASKED, "-p", "outputs", str(outputs)),
        ("compile", "mine", "-p", "outputs", str(outputs)),
        ("infer", "mine"),
        ("score", "mine", "-p", "outputs", str(tmp_path / "o4")),
    )
    for words, following in zip(steps, ("compile mine", "infer mine", "score mine", "passed: "), strict=True):
        code, shown = say(*words)
        assert code == 0 and following in shown.splitlines()[-1], shown
    assert set(masks(tmp_path / "o4")) == {"case_1.nii.gz", "case_3.nii.gz"}
    assert "cube: 1.0000" in shown


@pytest.mark.parametrize("tool", ["ais_bench", *(pytest.param(name, marks=SLOW) for name in ("msame", "benchmark"))])
def test_by_hand_shows_size_and_command_and_continues_once_outputs_exist(
    tool, say, outputs, tmp_path, monkeypatch, cann_doubles
):
    for name, value in cann_doubles.environment().items():
        monkeypatch.setenv(name, value)
    ascend = [*ASKED, "-p", "target", "ascend310p3", "-p", "batch_size", "3"]
    assert say("export", "tiny", *ascend, "-p", "outputs", str(outputs))[0] == 0
    assert say("compile", "bundle", "-p", "outputs", str(outputs))[0] == 0
    code, shown = say("infer", "bundle", "--tool", tool)
    assert code == 1 and "16 samples, 0.2 MiB to write" in shown
    assert read_bundle(tmp_path / "bundle").notes == {}
    line = re.search(rf"^  (.*{tool}.*)$", shown, re.M)[1]
    cann_doubles.run(line, tmp_path / "bundle" / "device_tool" / tool)
    code, shown = say("infer", "bundle", "--tool", tool)
    assert code == 0 and "samples/s on one device" in shown
    assert say("score", "bundle", "-p", "outputs", str(tmp_path / "o4"))[0] == 0
    assert len(masks(tmp_path / "o4")) == 2


@pytest.mark.parametrize(
    ("words", "code", "telling"),
    [
        (("infer", "nowhere"), 2, "no hand-over bundle in nowhere: received no such folder"),
        (("compile", "nowhere"), 2, "no hand-over bundle in nowhere"),
        (("score", "nowhere"), 2, "no hand-over bundle in nowhere"),
        (("infer", "bundle", "--devices", "first"), 2, "all, or numbers such as 0,1"),
        (("infer", "bundle"), 1, "cookbook compile"),
        (("score", "bundle", "-p", "outputs", "o"), 1, "the bundle has no output for case_1"),
        (("compile", "bundle", "-p", "target", "ascend310p"), 2, "ascend310p3"),
    ],
)
def test_an_error_is_one_line(words, code, telling, say, outputs, tmp_path):
    say("export", "tiny", *ASKED, "-p", "outputs", str(outputs))
    given, shown = say(*(word.replace("o", str(tmp_path / "o4"), 1) if word == "o" else word for word in words))
    error = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert given == code and len(error) == 1 and telling in error[0], shown
