"""What the labels of a BraTS case mean, which the year of the challenge decides: it is read from names, never values.

Names: Brats17_ to BraTS2021_ and `_t1ce` until 2022, BraTS-GLI-<patient>-<visit> and `-t1c` from 2023 on. Visits are
numbered from 000 in BraTS 2023 and from 100 in the post-treatment gliomas of 2024.
Labels: Menze et al., IEEE TMI 34 (2015); Baid et al., arXiv:2107.02314 (2021); Adewole et al., arXiv:2305.19369
(2023); de Verdier et al., arXiv:2405.18368 (2024); Kazerooni et al., arXiv:2404.15009 (children, 2024).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers.data.case import CaseFiles
from helpers.errors import DataError

FIRST_YEAR, LAST_YEAR = 2013, 2025


@dataclass(frozen=True)
class Convention:
    """The labels of the years that share them.

    Attributes:
        years: as shown to the user.
        classes: class index 0 to 3 of each label.
        written: label of each class index, as masks hold it.
        unanswered: labels of which the network has no class. They count as background, as in the challenge's regions.
        merged: what is said of a label that shares a class with another one.
    """

    years: str
    classes: Mapping[int, int]
    written: tuple[int, int, int, int]
    unanswered: Mapping[int, str] = field(default_factory=dict)
    merged: Mapping[int, str] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[int, ...]:
        """Every label that the years define."""
        return tuple(sorted({*self.classes, *self.unanswered}))


_OLD = (0, 1, 2, 4)
_NEW = {0: 0, 1: 1, 2: 2, 3: 3}
CONVENTIONS: Mapping[str, Convention] = {
    "2013": Convention(
        "2013 to 2016",
        {0: 0, 1: 1, 2: 2, 3: 1, 4: 3},
        _OLD,
        merged={3: "non-enhancing tumour (label 3) counts as necrotic core, as in BraTS from 2017 on"},
    ),
    "2018": Convention("2017 to 2022", {0: 0, 1: 1, 2: 2, 4: 3}, _OLD),
    "2023": Convention("2023", _NEW, (0, 1, 2, 3)),
    "2024": Convention("2024 and 2025", _NEW, (0, 1, 2, 3), unanswered={4: "resection cavity"}),
}

_YEAR = r"(?:20)?(1[3-9]|2\d)(?!\d)"
_YEAR_OF_FILE = re.compile(rf"brats[-_ ]?{_YEAR}", re.IGNORECASE)
# A folder may also end in the year: BraTS_Training_2020. A date is not a year.
_YEAR_OF_FOLDER = re.compile(rf"brats(?:[-_ ]?{_YEAR}|.*?(?<!\d)20(1[3-9]|2\d)(?![-_]?\d))", re.IGNORECASE)
_CHALLENGE = re.compile(r"brats-(?P<tumour>gli|men|met|ped|ssa|goat)-\d+(-(?P<visit>\d+))?", re.IGNORECASE)
_NEW_STYLE = re.compile(r".*[-_]t2f", re.IGNORECASE)
_FIRST_VISIT_OF_2024 = 100


@dataclass(frozen=True)
class Naming:
    """What the names of a case say about its labels.

    Attributes:
        convention: name in `CONVENTIONS`.
        reason: what decided, for the user; empty if nothing but the style of the names did.
        style: the convention that the style of the names suggests.
        foreign: labels that the tumour's own challenge numbers in another way; empty if it does not.
    """

    convention: str
    reason: str
    style: str
    foreign: str = ""

    @property
    def labels(self) -> Convention:
        """The labels of the convention."""
        return CONVENTIONS[self.convention]

    def __str__(self) -> str:
        return f"labels of BraTS {self.labels.years}, by {self.reason or 'the style of the file names'}"


def read_naming(case: CaseFiles, label_year: int | None = None) -> Naming:
    """Reads from the names of a case's files and folders what its labels mean; the names of files come first.

    Args:
        case: with a file for `flair`.
        label_year: the year, if the user names it.
    """
    path = case.files["flair"]
    is_new = bool(_NEW_STYLE.match(path.name))
    style = "2023" if is_new else "2018"
    folder = _year_of_folders(path) or _year_of_folders(path.resolve())  # then where links lead
    challenge = _CHALLENGE.match(case.id) if is_new else None
    if label_year is not None:
        return Naming(_convention(label_year), f"label_year {label_year}", style)
    if year := _year(_YEAR_OF_FILE, case.id):
        return Naming(_convention(year), "the file names", style)
    if challenge:
        return _by_challenge(challenge, style, folder)
    if folder:
        return Naming(_convention(folder[1]), f"the folder {folder[0]}", style)
    return Naming(style, "", style)


def to_classes(path: Path, labels: np.ndarray, naming: Naming) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class indices 0 to 3 from the labels of a file, and what the user should know about them.

    Args:
        path: of the labels, for messages.
        labels: (Z, Y, X), any integer dtype.
        naming: what they mean.

    Raises:
        DataError: a label is not defined in that year, or the names leave open what it means.
    """
    values, counts = np.unique(labels, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    _refuse_unclear(path, sorted(found), naming)
    rule = naming.labels
    classes = np.zeros(labels.shape, np.uint8)
    for value, index in rule.classes.items():
        classes[labels == value] = index
    remarks = [
        f"{meaning} (label {value}) {found[value]:,} voxels: the network has no such class, they count as background"
        for value, meaning in rule.unanswered.items()
        if value in found
    ]
    return classes, (*remarks, *(text for value, text in rule.merged.items() if value in found))


def _by_challenge(challenge: re.Match[str], style: str, folder: tuple[str, int] | None) -> Naming:
    tumour, visit = challenge["tumour"].upper(), challenge["visit"]
    named = folder if folder and folder[1] >= 2023 else None
    if named:
        name, reason = _convention(named[1]), f"the folder {named[0]}"
    elif tumour == "GLI" and visit and int(visit) >= _FIRST_VISIT_OF_2024:
        name, reason = "2024", f"the file names (visit {visit})"
    else:
        name, reason = "2023", "the file names"
    if tumour == "PED" and name == "2024":
        return Naming(name, reason, style, "1 enhancing, 2 non-enhancing, 3 cyst, 4 oedema")
    if tumour == "PED" and not named:
        return Naming(name, reason, style, "1, 2, 3 in 2023, 1 enhancing to 4 oedema from 2024 on")
    return Naming(name, reason, style)


def _refuse_unclear(path: Path, values: list[int], naming: Naming) -> None:
    rule = naming.labels
    problem = None
    if naming.foreign and values != [0]:
        problem = f"{path} has labels of BraTS-PED, whose numbers differ from those of gliomas ({naming.foreign})"
        remedy = "Convert them to 1 necrotic, 2 oedema, 3 enhancing, and set label_year 2023."
    elif not set(values) <= {0, 1, 2, 3, 4}:
        problem, remedy = f"{path} has labels that BraTS does not define", _OTHER_LABELS
    elif not set(values) <= set(rule.labels) and not naming.reason:
        problem = f"the names of {path} do not say which year's labels it has"
        remedy = "Set label_year, such as 2021 (4 is enhancing tumour) or 2024 (3 is, and 4 is a resection cavity)."
    elif not set(values) <= set(rule.labels):
        problem = f"{path} has labels that BraTS does not define in {rule.years}"
        remedy = "Set label_year if the labels are those of another year, or convert them."
    if problem:
        allowed = ", ".join(map(str, rule.labels))
        expected = f"{allowed} ({naming})" if naming.reason else "0, 1, 2, 4 (2017 to 2022) or 0, 1, 2, 3 (2023)"
        raise DataError(problem, received=values, expected=expected, remedy=remedy)


_OTHER_LABELS = "Convert the labels, or leave the case out with `cases`."


def _year_of_folders(path: Path) -> tuple[str, int] | None:
    """The nearest folder of a path that names a year, and the year."""
    years = ((folder.name, _year(_YEAR_OF_FOLDER, folder.name)) for folder in path.parents)
    return next(((name, year) for name, year in years if year is not None), None)


def _year(pattern: re.Pattern[str], name: str) -> int | None:
    match = pattern.search(name)
    return 2000 + int(next(filter(None, match.groups()))) if match else None


def _convention(year: int) -> str:
    return "2013" if year < 2017 else "2018" if year < 2023 else "2023" if year < 2024 else "2024"
