"""The tables of surface and lesion metrics in a report: one per structure, a row per case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from helpers.report.anonymous import Redaction

# In the order of tables. The names are those of `metrics.json`, which scoring computed.
_METRICS = {
    "NSD": "", "HD95": "mm", "ASSD": "mm", "volume difference": "ml",
    "lesion Dice": "", "lesion F1": "", "lesion HD95": "mm", "ECE": "",
}  # fmt: skip
_EMPTY = {"both": "both masks are empty", "prediction": "the prediction is empty", "truth": "the truth is empty"}


def structure_tables(metrics: Mapping[str, Any], cases: Sequence[str], hide: Redaction) -> list[dict[str, object]]:
    """One table for each label or region that was measured.

    Args:
        metrics: `volume_metrics` of a run.
        cases: in the order of the report.
        hide: removes names, if the report is anonymous.

    Returns:
        Per structure: `title`, `header`, `rows` with the name of the case first, `mean`, `interval` and `notes`.
    """
    return [_table(metrics, name, rule, cases, hide) for name, rule in metrics.get("rules", {}).items()]


def _table(
    metrics: Mapping[str, Any], structure: str, rule: Mapping[str, Any], cases: Sequence[str], hide: Redaction
) -> dict[str, object]:
    names = {name: f"{name} {structure}" for name in _METRICS if f"{name} {structure}" in metrics["mean"]}
    measured = [case for case in cases if case in metrics["cases"]]
    intervals = [metrics["intervals"].get(full) for full in names.values()]
    return {
        "title": hide.text(structure),
        "header": [f"{name}, {_METRICS[name]}" if _METRICS[name] else name for name in names],
        "rows": [
            (hide.case(case), [_show(metrics["cases"][case].get(full)) for full in names.values()])
            for case in measured
        ],
        "mean": [_show(metrics["mean"][full]) for full in names.values()],
        "interval": ["–" if pair is None else f"{pair[0]:.3f} to {pair[1]:.3f}" for pair in intervals],
        "notes": [hide.text(note) for note in _notes(metrics, structure, rule)],
    }


def _notes(metrics: Mapping[str, Any], structure: str, rule: Mapping[str, Any]) -> list[str]:
    notes = [f"NSD within {rule['tolerance_mm']:g} mm."]
    notes += [f"{count} case(s): {_EMPTY[kind]}." for kind, count in metrics["empty"][structure].items() if count]
    if rule["lesions"]:
        totals = [lesions[structure] for lesions in metrics["lesions"].values() if structure in lesions]
        numbers = ", ".join(f"{sum(each[kind] for each in totals)} {kind}" for kind in ("found", "missed", "false"))
        smallest = f"larger than {rule['lesions']['minimum_mm3']:g} mm³"
        notes.append(f"Lesions {smallest} in all cases: {numbers}.")
    if not any(metrics["intervals"].values()):
        notes.append("Too few cases for intervals.")
    return notes


def _show(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
