"""The table of all records: Markdown for the README, HTML, and a plot of throughput and score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers.errors import DataError
from helpers.run.atomic import atomic_path
from helpers.study.device_record import DeviceRecord
from helpers.view import figures
from helpers.view.figures.records import draw_records
from helpers.view.tables import html_table

START, END = "<!-- records -->", "<!-- end of records -->"
_HEADERS = {
    "en": (
        "model",
        "weights",
        "device",
        "precision",
        "batch",
        "ms (p50 / p99)",
        "samples/s",
        "score",
        "MB",
        "J/sample",
    ),
    "zh": ("模型", "权重", "设备", "精度", "Batch", "毫秒（p50 / p99）", "样本/秒", "评测指标", "MB", "焦耳/样本"),
}


def table_markdown(records: Sequence[DeviceRecord], language: str = "en") -> str:
    """The table in Markdown; the header alone without records."""
    header = _HEADERS[language]
    rows = [header, ("---",) * len(header), *(_row(record) for record in records)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def write_tables(records: Sequence[DeviceRecord], folder: Path) -> list[Path]:
    """Writes `table.md`, `table.html` and `table.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    page = html_table(_HEADERS["en"], [_row(record) for record in records])
    whole = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Records</title>{page}</html>\n"
    texts = {"table.md": table_markdown(records) + "\n", "table.html": whole}
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    bars = [
        (f"{one.model} {one.device.target} {one.precision} b{one.batch}", one.samples_per_second) for one in records
    ]
    picture = figures.save_figure(draw_records(bars), folder / "table.png")
    return [folder / "table.md", folder / "table.html", picture]


def update_readme(path: Path, records: Sequence[DeviceRecord]) -> None:
    """Replaces the table between the two marks of a README; a Chinese one has `.zh` in its name.

    Raises:
        DataError: the marks are not there.
    """
    text = path.read_text(encoding="utf-8")
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise DataError(f"{path} has no place for the table", expected=f"a line {START} and a line {END} after it")
    before, after = text.split(START)[0], text.split(END)[1]
    table = table_markdown(records, "zh" if ".zh" in path.name else "en")
    with atomic_path(path) as temporary:
        temporary.write_text(f"{before}{START}\n{table}\n{END}{after}", encoding="utf-8")


def _row(record: DeviceRecord) -> tuple[str, ...]:
    device = record.device
    version = device.versions.get(device.runtime, "")
    scores = ", ".join(f"{name} {value:.3f}" for name, value in record.score.items()) or "–"
    energy = record.energy_j_per_sample
    return (
        record.model,
        record.weights,
        f"{device.processor}, {device.cpus} cores, {device.runtime} {version}".strip(),
        record.precision,
        str(record.batch),
        f"{record.latency.p50_ms:.1f} / {record.latency.p99_ms:.1f}",
        f"{record.samples_per_second:.2f}",
        f"{scores} ({record.data}, {record.score_cases} cases)",
        f"{record.peak_memory_mb:.0f}",
        energy if isinstance(energy, str) else f"{energy:.2f}",
    )
