"""The report page: the values of its template, and the file."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.errors import explain_damage
from helpers.report.anonymous import DROPPED_PARAMETERS, Anonymiser, AsRecorded, Redaction
from helpers.report.metrics import structure_tables
from helpers.report.record import RunFolder
from helpers.run.atomic import atomic_path
from helpers.run.result import mark_simulated
from helpers.view.figures.canvas import shrink_png

BYTES_PER_CASE = 1_000_000
_TEXT_BYTES = 120_000
_KINDS = {"slices": "slices", "volume": "in three dimensions", "picture": "picture"}
_NOT_RECORDED = "not recorded"
_MARKS = {"made": "✓", "reused": "✓", "not run here": "–", "failed": "✗"}


def write_report(folder: Path, *, anonymise: bool | None = None, to: Path | None = None) -> Path:
    """Writes the report of a run as one HTML file without scripts or links to other files.

    Args:
        folder: the run folder; only `run.json` and the pictures that it names are read.
        anonymise: whether to remove case names, paths, dates, DICOM names, user and host; None follows the
            parameters of the run.
        to: the file to write; None writes `report.html` into the run folder.

    Returns:
        The file.

    Raises:
        DataError: there is no run in the folder, or its record is damaged.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    with explain_damage(folder / "run.json"):
        run = RunFolder.read(folder)
        if anonymise is None:
            anonymise = bool(run.record["params"].get("anonymise", False))
        values = build_page(run, anonymise)
    templates = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    with explain_damage(folder / "run.json"):
        page = environment.get_template("page.html.j2").render(values)
    path = to or folder / "report.html"
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def build_page(run: RunFolder, anonymise: bool) -> dict[str, object]:
    """Builds the values of the template, which escapes them."""
    cases = run.worst_first()
    record, params = run.record, run.record["params"]
    places = [str(params.get(name, "")) for name in ("checkpoint", "data_root", "outputs")]
    known = [str(record.get("host", "")), *(place for place in places if "/" in place or "\\" in place)]
    hide: Redaction = Anonymiser(cases, known) if anonymise else AsRecorded()
    pictures = _encode_pictures(run, hide, len(cases))
    shown = {case: _pictures_of(case, pictures) for case in cases}
    of_cases = {name for group in shown.values() for name, _ in group}
    return {
        "title": hide.text(record.get("title") or params["recipe"]),
        "run": hide.text(run.folder.name),
        "started": "" if anonymise else _minute(record.get("started")),
        "anonymous": anonymise,
        "status": record["status"],
        "reason": hide.text(record.get("reason", "")),
        "figures": _key_figures(run, hide),
        "score_names": _score_names(run),
        "rows": [_case_row(run, case, hide) for case in cases],
        "means": [_show_score(run.means.get(name)) for name in _score_names(run)],
        "structures": structure_tables(run.metrics, cases, hide),
        "cases": [_case_pictures(run, case, shown[case], hide) for case in cases if shown[case]],
        "case_count": len(cases),
        "others": _other_pictures(run, {name: uri for name, uri in pictures.items() if name not in of_cases}),
        "steps": [_step(stage, hide) for stage in run.stages],
        "parameters": _parameters(params, hide, anonymise),
        "versions": _versions(record["environment"]),
    }


def _key_figures(run: RunFolder, hide: Redaction) -> list[tuple[str, str]]:
    stages, params = run.stages, run.record["params"]
    checks = [check for stage in stages for check in stage.get("checks", [])]
    failed = sum(stage["status"] == "failed" for stage in stages)
    gates = f"{sum(check['passed'] for check in checks)} ✓" + (f"  {failed} ✗" if failed else "")
    means = [(f"mean {name}", _show_score(run.means.get(name))) for name in _score_names(run)]
    device = f"{params['target']}, {params['precision']}"
    seconds = sum(stage.get("seconds", 0.0) for stage in stages)
    time = _show_seconds(seconds) + next((mark for mark in map(_mark, stages) if mark), "")
    rest = [("cases", str(len(run.cases()))), ("gates", gates), ("target", device), ("time", time)]
    return [(hide.text(name), value) for name, value in [*means[:4], *rest]]


def _score_names(run: RunFolder) -> list[str]:
    found = dict.fromkeys(name for values in run.scores.values() for name in values)
    return _in_order(found, run.record.get("score_names", []))


def _in_order(names: Iterable[str], order: Sequence[str]) -> list[str]:
    """The names in a recorded order, unknown ones last; a record's mappings are sorted alphabetically."""
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def _case_row(run: RunFolder, case: str, hide: Redaction) -> dict[str, object]:
    stage = run.record["stages"].get(f"infer/{case}", {})
    timings, values = stage.get("timings", {}), stage.get("values", {})
    scores, labels = run.scores.get(case, {}), run.record.get("labels", {}).get("names", [])
    return {
        "case": hide.case(case),
        "status": stage.get("status", "no mask"),
        "scores": [_show_score(scores.get(name)) if case in run.scores else "" for name in _score_names(run)],
        "seconds": f"{timings['infer']:.2f}{_mark(stage)}" if "infer" in timings else "",
        "memory": f"{timings['peak_rss_mb']:.0f}" if "peak_rss_mb" in timings else "",
        "found": hide.text(_show_found(values.get("found"), labels)) if stage else "",
        "flag": hide.text(values.get("note", "")),
    }


def _show_found(counts: Mapping[str, int] | None, labels: Sequence[str]) -> str:
    """The size of each label in a mask, in the order of the labels.

    >>> _show_found({"cyst": 0, "lesion": 20, "liver": 1234}, ["background", "liver", "lesion", "cyst"])
    'liver 1,234, lesion 20'
    """
    if counts is None:
        return _NOT_RECORDED
    return ", ".join(f"{name} {counts[name]:,}" for name in _in_order(counts, labels) if counts[name]) or "nothing"


def _pictures_of(case: str, pictures: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pictures named `<rank>_<case>_<kind>.png`."""
    mine = []
    for name, uri in pictures.items():
        rank, _, rest = Path(name).stem.partition("_")
        if rank.isdigit() and rest.rpartition("_")[0] == case:
            mine.append((name, uri))
    return mine


def _case_pictures(
    run: RunFolder, case: str, pictures: Sequence[tuple[str, str]], hide: Redaction
) -> dict[str, object]:
    values = run.scores.get(case, {})
    kinds = [(Path(name).stem.rpartition("_")[2], uri) for name, uri in pictures]
    return {
        "case": hide.case(case),
        "scores": "  ".join(f"{name} {_show_score(values.get(name))}" for name in _score_names(run) if values),
        "pictures": [(_KINDS.get(kind, kind), uri) for kind, uri in kinds],
    }


def _other_pictures(run: RunFolder, pictures: Mapping[str, str]) -> list[dict[str, object]]:
    """Pictures that do not belong to a case, grouped by the stage that made them."""
    groups = []
    left = dict(pictures)
    for stage in run.stages:
        mine = [left.pop(name) for name in stage.get("files", []) if name in left]
        if mine:
            groups.append({"title": stage["title"], "pictures": mine})
    if left:
        groups.append({"title": "Seconds per stage", "pictures": list(left.values())})
    return groups


def _encode_pictures(run: RunFolder, hide: Redaction, case_count: int) -> dict[str, str]:
    """File names to data URIs that together fit into the page; omits a picture that cannot be anonymised."""
    names = run.pictures()
    budget = BYTES_PER_CASE * max(1, case_count) - _TEXT_BYTES
    maximum = int(budget * 3 / 4 / max(1, len(names)))  # base64 makes four bytes of three
    uris = {}
    for name in names:
        content = hide.picture((run.folder / name).read_bytes())
        if content is not None:
            small = shrink_png(content, maximum)
            uris[name] = "data:image/png;base64," + base64.b64encode(small).decode("ascii")
    return uris


def _step(stage: Mapping[str, Any], hide: Redaction) -> dict[str, object]:
    checks = [
        ("✓" if check["passed"] else "✗", hide.text(check["name"]), hide.text(check["figure"]))
        for check in stage.get("checks", [])
    ]
    if stage["status"] == "failed":
        checks.append(("✗", "failed", hide.text(stage.get("reason", ""))))
    return {
        "title": hide.text(stage["title"]),
        "status": stage["status"],
        "mark": _MARKS.get(stage["status"], ""),
        "seconds": f"{stage.get('seconds', 0.0):.1f}{_mark(stage)}",
        "checks": checks,
        "of_case": stage["stage"].startswith("infer/"),
        "facts": [(hide.text(name), hide.text(value)) for name, value in stage.get("facts", {}).items()],
    }


def _parameters(params: Mapping[str, object], hide: Redaction, anonymise: bool) -> list[tuple[str, str]]:
    params = {**params, "anonymise": anonymise}
    kept = {name: value for name, value in params.items() if not (anonymise and name in DROPPED_PARAMETERS)}
    return [(name, hide.text(_plain(value))) for name, value in kept.items()]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        given = {name: part for name, part in value.items() if part not in (None, [], {})}
        return ", ".join(f"{name}: {_plain(part)}" for name, part in given.items()) or "–"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _versions(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine = environment.get("machine", {})
    rows = [("cookbook", environment.get("cookbook")), ("source revision", environment.get("git_commit"))]
    rows += [("Python", environment.get("python")), *environment.get("packages", {}).items()]
    rows += [("system", machine.get("system")), ("processor", machine.get("processor"))]
    rows += [("CPUs", machine.get("cpus")), ("RAM GB", machine.get("ram_gb"))]
    return [(name, str(value)) for name, value in rows if value is not None]


def _show_score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _show_seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _mark(stage: Mapping[str, Any]) -> str:
    return mark_simulated(stage.get("simulated", False))


def _minute(timestamp: float | None) -> str:
    if timestamp is None:
        return ""
    return datetime.datetime.fromtimestamp(timestamp).astimezone().strftime("%Y-%m-%d %H:%M %Z")
