"""How long the installed netron still opens files: a build stops 180 days after its date, as its author means it."""

from __future__ import annotations

import datetime
import importlib.util
import re
from pathlib import Path

from helpers.run.environment import package_version

LIFE_DAYS = 180


def describe_netron(today: datetime.date | None = None) -> str:
    """netron's age, counted from its build date, because a build stops opening files after 180 days."""
    spec = importlib.util.find_spec("netron")
    if spec is None or spec.origin is None:
        return "not installed"
    built = _build_date(Path(spec.origin).parent)
    if built is None:
        return f"{package_version('netron')}: build date not found"
    age = ((today or datetime.date.today()) - built).days
    left = LIFE_DAYS - age
    if left < 0:
        return f"built {built}, {age} days old: it no longer opens files; the static graph picture still does"
    return f"built {built}, {age} days old, opens files for {left} more days"


def _build_date(folder: Path) -> datetime.date | None:
    page = folder / "index.html"
    if not page.is_file():
        return None
    text = page.read_text(encoding="utf-8", errors="replace")
    match = re.search(r'name="date" content="(\d{4})-(\d{2})-(\d{2})', text)
    return datetime.date(int(match[1]), int(match[2]), int(match[3])) if match else None
