"""Records: simulated times are refused, the schema is that of the code, and the README's table is up to date."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import cli
from helpers.errors import DataError
from helpers.study.device_record import (
    RESULTS,
    SCHEMA,
    DeviceFacts,
    DeviceRecord,
    LatencyFacts,
    read_records,
    record_schema,
    write_record,
)
from helpers.study.record_table import END, START, table_markdown, update_readme, write_tables

ROOT = Path(__file__).resolve().parents[2]


def _record(**changes: object) -> DeviceRecord:
    values = {
        "model": "unet3d_brats",
        "weights": "demo",
        "weights_sha256": ["0" * 64],
        "compiled_sha256": "1" * 64,
        "device": DeviceFacts(
            target="cpu",
            runtime="openvino",
            processor="a CPU",
            cpus=2,
            ram_gb=8.0,
            driver="none",
            versions={"openvino": "2026.2"},
        ),
        "precision": "f32",
        "batch": 2,
        "input_shape": [4, 64, 64, 64],
        "latency": LatencyFacts(p50_ms=50.0, p90_ms=60.0, p99_ms=70.0, calls=9),
        "samples_per_second": 40.0,
        "data": "demo",
        "score": {"WT": 0.9},
        "score_cases": 4,
        "peak_memory_mb": 300.0,
        "energy_j_per_sample": "not readable here",
        "load": 0.0,
        "command": "cookbook record RUN --batch 2 --seconds 10",
        "run": "demo-0",
        "run_hash": "0",
        "measured": "2026-11-30",
        "simulated": False,
    }
    return DeviceRecord(**(values | changes))


def test_a_record_is_read_as_it_was_written(tmp_path):
    for record in (_record(), _record(batch=1), _record(energy_j_per_sample=2.5, precision="bf16")):
        write_record(record, tmp_path)
    write_record(_record(), tmp_path)  # replaces the first
    found = read_records(tmp_path)
    assert [(one.precision, one.batch) for one in found] == [("bf16", 2), ("f32", 1), ("f32", 2)]
    assert found[2] == _record()


def test_simulated_times_do_not_enter_the_results(tmp_path):
    results, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    with pytest.raises(DataError, match="simulated"):
        write_record(_record(simulated=True), results)
    assert not results.exists()
    path = write_record(_record(simulated=True), elsewhere)
    results.mkdir()
    path.rename(results / path.name)
    with pytest.raises(DataError, match="simulated"):
        read_records(results)


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch", 0), ("weights_sha256", ["abc"]), ("samples_per_second", -1.0), ("energy_j_per_sample", "little")],
)
def test_a_file_that_is_no_record_is_named(tmp_path, name, value):
    path = write_record(_record(), tmp_path)
    content = json.loads(path.read_text(encoding="utf-8")) | {name: value}
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=f"{path.name}.*{name}"):
        read_records(tmp_path)


def test_the_table_has_a_row_per_record(tmp_path):
    lines = table_markdown([_record(), _record(energy_j_per_sample=2.5)]).splitlines()
    assert len(lines) == 4
    assert "| 50.0 / 70.0 | 40.00 | WT 0.900 (demo, 4 cases) | 300 | not readable here |" in lines[2]
    assert lines[3].endswith("| 2.50 |")
    paths = write_tables([_record()], tmp_path / "table")
    assert [path.name for path in paths] == ["table.md", "table.html", "table.png"]
    assert "unet3d_brats" in paths[1].read_text(encoding="utf-8") and paths[2].stat().st_size > 1000


def test_only_the_marked_part_of_a_readme_changes(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{START}\nold\n{END}\nafter\n", encoding="utf-8")
    update_readme(path, [_record()])
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{START}\n| model") and text.endswith(f"{END}\nafter\n") and "old" not in text
    path.write_text("no marks", encoding="utf-8")
    with pytest.raises(DataError, match="no place"):
        update_readme(path, [_record()])


def test_the_schema_in_the_repository_is_that_of_the_code():
    assert json.loads((RESULTS / SCHEMA).read_text(encoding="utf-8")) == record_schema()


@pytest.mark.parametrize(("name", "language"), [("README.md", "en"), ("README.zh-CN.md", "zh")])
def test_the_table_of_the_readme_is_that_of_the_records(name, language):
    text = (ROOT / name).read_text(encoding="utf-8")
    shown = text.split(START)[1].split(END)[0].strip()
    assert shown == table_markdown(read_records(RESULTS), language)


def test_table_prints_what_it_read(tmp_path, capsys):
    write_record(_record(), tmp_path)
    assert cli.main(["table", "--results", str(tmp_path), "--to", str(tmp_path / "out")]) == 0
    assert "unet3d_brats" in capsys.readouterr().out and (tmp_path / "out/table.html").is_file()
