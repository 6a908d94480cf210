"""Explains error codes of ATC and pyACL: problem, cause and remedy, in English or Chinese."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import read_yaml_mapping

Language = Literal["en", "zh"]

_ATC_CODE = re.compile(r"\bE[A-Z]?\d{4,5}\b")
_ACL_CODE = re.compile(r"\breturned (\d{6})\b")


@dataclass(frozen=True)
class Explanation:
    """The explanation of a vendor's error code."""

    code: str
    problem: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.code}: {self.problem}. {self.cause} {self.remedy}"


def user_language() -> Language:
    """Chinese if the locale is Chinese, else English."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def atc_codes(report: str) -> list[str]:
    """Finds the codes in a report of ATC, in order; releases print `E10001: …` or `…(E10001): …`.

    >>> atc_codes("E10001: bad value. E19999: inner error")
    ['E10001', 'E19999']
    """
    return list(dict.fromkeys(_ATC_CODE.findall(report)))


def explain_atc(report: str, language: Language | None = None) -> Explanation | None:
    """Explains the first known code in a report of ATC; None if there is none."""
    table, language = _table("atc_errors"), language or user_language()
    codes = atc_codes(report)
    for entry in table["history"]:
        if entry["code"] in codes and entry["text"] in report:
            return _explanation(entry["code"], entry, language)
    for code in sorted(codes, key=lambda code: code.endswith("9999")):  # "inner error" is the least specific
        families = sorted((name for name in table["families"] if code.startswith(name)), key=len)
        entry = table["codes"].get(code) or (table["families"][families[-1]] if families else None)
        if entry:
            return _explanation(code, entry, language)
    return None


def explain_acl(code: int, language: Language | None = None) -> Explanation | None:
    """Explains a return code of pyACL; None if it is unknown."""
    entry = _table("acl_codes").get(str(code))
    return _explanation(str(code), entry, language or user_language()) if entry else None


def explain_acl_message(message: str, language: Language | None = None) -> Explanation | None:
    """Explains the code in a message such as `acl.mdl.execute returned 507011`; None if it is unknown."""
    found = _ACL_CODE.search(message)
    return explain_acl(int(found[1]), language) if found else None


def _explanation(code: str, entry: Mapping, language: Language) -> Explanation:
    problem, cause, remedy = entry[language]
    return Explanation(code, problem, cause, remedy)


@functools.cache
def _table(name: str) -> dict:
    return read_yaml_mapping(PARAMS_FOLDER / "ascend" / f"{name}.yaml")
