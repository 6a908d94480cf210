"""What the readers of a run said, as CSV for a spreadsheet, as JSON for a program, and as a page to read or print."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from helpers.qa.agreement import Agreement, CaseAgreement
from helpers.qa.journal import VERDICTS
from helpers.qa.kappa import Kappa
from helpers.report.anonymous import Anonymiser, AsRecorded, Redaction
from helpers.run.atomic import atomic_path
from helpers.run.csv_file import encode_text, write_csv
from helpers.view.tables import text_table

_ADJUDICATED = ("adjudicated by", "adjudicated at", "decision", "note of the adjudication")


def write_agreement(
    agreement: Agreement,
    folder: Path,
    title: str,
    pictures: Mapping[str, Path] | None = None,
    anonymise: bool = False,
) -> list[Path]:
    """Writes `agreement.csv`, `agreement.json` and `agreement.html`; only the page is without names if asked for.

    Args:
        agreement: the readers of a run.
        folder: of the files; made if it is missing.
        title, pictures, anonymise: as in `write_agreement_page`.
    """
    return [
        write_agreement_csv(agreement, folder / "agreement.csv"),
        write_agreement_json(agreement, folder / "agreement.json"),
        write_agreement_page(agreement, folder / "agreement.html", title, pictures, anonymise),
    ]


def agreement_lines(agreement: Agreement) -> list[str]:
    """The agreement as plain text: kappas, notes, and a table of the cases that readers judged differently."""
    lines = [f"{', '.join(kappa.readers)}: {describe_kappa(kappa)}" for kappa in list_kappas(agreement)]
    rows = disagreement_rows(agreement)
    table = text_table([("case", *agreement.readers, "status", "final"), *rows]) if rows else []
    return [*lines, *agreement.notes, *table]


def disagreement_rows(agreement: Agreement) -> list[tuple[str, ...]]:
    """Case, each reader's verdict, status and final verdict of the cases that readers judged differently."""
    return [
        (case.case, *(_verdict_of(case, who) for who in agreement.readers), case.status, case.final or "–")
        for case in agreement.cases
        if case.disagrees
    ]


def describe_kappa(kappa: Kappa) -> str:
    """Kappa with its interval in one phrase; says why it is undefined.

    >>> describe_kappa(Kappa("Cohen's kappa", ("ann", "bob"), 40, 36, 0.9, 0.812, (0.61, 0.96)))
    "Cohen's kappa 0.812 (95 % bootstrap interval 0.610 to 0.960), 40 cases"
    >>> describe_kappa(Kappa("Cohen's kappa", ("ann", "bob"), 9, 9, 1.0, None, reason="all verdicts are the same"))
    "Cohen's kappa is undefined: all verdicts are the same (9 cases)"
    """
    if kappa.value is None:
        return f"{kappa.name} is undefined: {kappa.reason} ({kappa.cases} cases)"
    return f"{kappa.name} {kappa.value:.3f} ({describe_interval(kappa)}), {kappa.cases} cases"


def describe_interval(kappa: Kappa) -> str:
    """The interval of a kappa in words, with what it leaves out."""
    if kappa.interval is None:
        return "no interval: every resample agrees alike"
    low, high = kappa.interval
    left_out = f"; undefined in {kappa.undefined:.1%} of the resamples, left out" if kappa.undefined else ""
    return f"95 % bootstrap interval {low:.3f} to {high:.3f}{left_out}"


def write_agreement_csv(agreement: Agreement, path: Path) -> Path:
    """Writes one row per case, disagreements first; no cell can become a formula."""
    header = ["case", "status", "final"]
    for reader in agreement.readers:
        header += [f"verdict of {reader}", f"note of {reader}", f"time of {reader}"]
    rows = [_csv_row(agreement, case) for case in agreement.cases]
    return write_csv(path, [*header, *_ADJUDICATED, "mask hash"], rows)


def write_agreement_json(agreement: Agreement, path: Path) -> Path:
    """Writes kappas, notes and every case with its verdicts and its adjudication."""
    content = {
        "recipe": agreement.recipe,
        "run": agreement.run,
        "readers": list(agreement.readers),
        "agreement": [asdict(kappa) for kappa in list_kappas(agreement)],
        "interval": "percentile bootstrap over cases, 95 %",
        "notes": list(agreement.notes),
        "cases": [_json_case(case) for case in agreement.cases],
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n"))
    return path


def write_agreement_page(
    agreement: Agreement, path: Path, title: str, pictures: Mapping[str, Path] | None = None, anonymise: bool = False
) -> Path:
    """Writes the agreement as one HTML file without scripts or links to other files.

    Args:
        agreement: the readers of a run.
        path: of the page.
        title: of the recipe.
        pictures: caption to PNG file, such as a group plot.
        anonymise: number cases and readers, and leave out names, paths and dates, also in pictures.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    names = _Names.of(agreement, anonymise)
    page = environment.get_template("agreement.html.j2").render(
        title=title,
        run=agreement.run,
        anonymous=anonymise,
        kappas=[_page_kappa(kappa, names) for kappa in list_kappas(agreement)],
        figures=_page_figures(agreement),
        notes=[names.text(line) for line in agreement.notes],
        tables=[_page_table(agreement, kappa, names) for kappa in list_kappas(agreement) if len(kappa.readers) == 2],
        verdicts=VERDICTS,
        readers=[names.reader(reader) for reader in agreement.readers],
        cases=[_page_case(agreement, case, names) for case in agreement.cases],
        pictures=[(caption, uri) for caption, file in (pictures or {}).items() if (uri := names.picture(file))],
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_text(page))
    return path


@dataclass(frozen=True)
class _Names:
    """How the page names cases and readers."""

    hide: Redaction
    readers: Mapping[str, str]
    anonymise: bool

    @classmethod
    def of(cls, agreement: Agreement, anonymise: bool) -> _Names:
        who = dict.fromkeys(agreement.readers)
        who |= dict.fromkeys(case.adjudication.who for case in agreement.cases if case.adjudication)
        if not anonymise:
            return cls(AsRecorded(), {name: name for name in who}, False)
        numbers = {name: f"reader {number}" for number, name in enumerate(who, start=1)}
        return cls(Anonymiser([case.case for case in agreement.cases]), numbers, True)

    def reader(self, name: str) -> str:
        return self.readers[name]

    def text(self, text: str) -> str:
        if self.anonymise:  # a name may be a part of another one
            for name in sorted(self.readers, key=len, reverse=True):
                text = text.replace(name, self.readers[name])
        return self.hide.text(text)

    def picture(self, path: Path) -> str:
        content = self.hide.picture(path.read_bytes())
        return "data:image/png;base64," + base64.b64encode(content).decode("ascii") if content else ""


def list_kappas(agreement: Agreement) -> list[Kappa]:
    """That of all readers together first, then those of each two."""
    return [*([agreement.overall] if agreement.overall else []), *agreement.pairs]


def _verdict_of(case: CaseAgreement, reader: str) -> str:
    return case.verdicts[reader].verdict if reader in case.verdicts else "–"


def _csv_row(agreement: Agreement, case: CaseAgreement) -> list[object]:
    row: list[object] = [case.case, case.status, case.final]
    for reader in agreement.readers:
        entry = case.verdicts.get(reader)
        row += [entry.verdict, entry.note, entry.when] if entry else ["", "", ""]
    decided = case.adjudication
    row += [decided.who, decided.when, decided.decision, decided.note] if decided else ["", "", "", ""]
    return [*row, case.subject[3]]


def _json_case(case: CaseAgreement) -> dict[str, object]:
    return {
        "case": case.case,
        "mask_hash": case.subject[3],
        "status": case.status,
        "final": case.final or None,
        "verdicts": {
            who: {"verdict": entry.verdict, "note": entry.note, "when": entry.when}
            for who, entry in case.verdicts.items()
        },
        "adjudication": asdict(case.adjudication) if case.adjudication else None,
    }


def _page_figures(agreement: Agreement) -> list[tuple[str, str]]:
    overall, statuses = agreement.overall, Counter(case.status for case in agreement.cases)
    shown = []
    if overall is not None:
        shown = [
            (overall.name, "undefined" if overall.value is None else f"{overall.value:.3f}"),
            ("raw agreement", "–" if overall.raw is None else f"{overall.raw:.1%}"),
            ("cases that all judged", str(overall.cases)),
        ]
    open_cases = sum(case.disagrees and not case.is_decided for case in agreement.cases)
    return [*shown, ("open disagreements", str(open_cases)), ("adjudicated", str(statuses["adjudicated"]))]


def _page_kappa(kappa: Kappa, names: _Names) -> dict[str, str]:
    return {
        "name": kappa.name,
        "readers": ", ".join(map(names.reader, kappa.readers)),
        "value": "undefined" if kappa.value is None else f"{kappa.value:.3f}",
        "interval": kappa.reason if kappa.value is None else describe_interval(kappa),
        "raw": "–" if kappa.raw is None else f"{kappa.raw:.1%}",
        "unanimous": f"{kappa.unanimous} of {kappa.cases}",
    }


def _page_table(agreement: Agreement, kappa: Kappa, names: _Names) -> dict[str, object]:
    """How often each pair of verdicts was given by two readers: rows of the first, columns of the second."""
    first, second = kappa.readers
    counts = Counter(
        (case.verdicts[first].verdict, case.verdicts[second].verdict)
        for case in agreement.cases
        if first in case.verdicts and second in case.verdicts
    )
    rows = [(row, [(counts[row, column], row == column) for column in VERDICTS]) for row in VERDICTS]
    return {"first": names.reader(first), "second": names.reader(second), "rows": rows}


def _page_case(agreement: Agreement, case: CaseAgreement, names: _Names) -> dict[str, object]:
    entries: Sequence[tuple[str, str]] = [
        (entry.verdict, names.text(entry.note)) if (entry := case.verdicts.get(who)) else ("", "")
        for who in agreement.readers
    ]
    decided = case.adjudication
    when = "" if names.anonymise or decided is None else f" on {decided.when[:16].replace('T', ' ')} UTC"
    return {
        "case": names.hide.case(case.case),
        "status": case.status,
        "open": case.disagrees and not case.is_decided,
        "entries": entries,
        "final": case.final,
        "decided": f"by {names.reader(decided.who)}{when}" if decided else "",
        "note": names.text(decided.note) if decided else "",
    }
