"""Flags that need no truth: what makes a mask unlike the others, or unlike another device's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.qa.measures import MaskMeasures

# Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993): modified z-scores above 3.5 are outliers.
_OUTLYING_Z = 3.5
_FEWEST_CASES = 5
LEAST_AGREEMENT = 0.9


@dataclass(frozen=True)
class Flag:
    """One reason to look at a mask first."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def flag_cases(
    measures: Mapping[str, MaskMeasures],
    class_names: Sequence[str],
    agreements: Mapping[str, float | None] | None = None,
) -> dict[str, list[Flag]]:
    """The flags of every case of a run.

    Args:
        measures: by case.
        class_names: of the class indices.
        agreements: by case, the mean Dice over labels between this run's mask and another's; None where it is not
            known.
    """
    flags: dict[str, list[Flag]] = {case: [] for case in measures}
    for case, own in measures.items():
        if not any(own.voxels):
            flags[case].append(Flag("empty", "nothing is marked"))
    for index, name in enumerate(class_names):
        if index:
            for case, found in _flag_class(measures, index, name).items():
                flags[case] += found
    for case, agreement in (agreements or {}).items():
        if case in flags and agreement is not None and agreement < LEAST_AGREEMENT:
            flags[case].append(Flag("disagreement", f"Dice {agreement:.3f} with the other run"))
    return flags


def modified_z(values: Sequence[float]) -> np.ndarray:
    """How far each value lies from the median, in robust standard deviations; zeros where all are equal."""
    values = np.asarray(values, float)
    away = values - np.median(values)
    spread = np.median(np.abs(away)) / 0.6745
    if spread == 0:  # more than half are equal: the mean deviation tells the others apart
        spread = 1.253314 * np.abs(away).mean()
    return away / spread if spread else np.zeros_like(away)


def _flag_class(measures: Mapping[str, MaskMeasures], index: int, name: str) -> dict[str, list[Flag]]:
    found: dict[str, list[Flag]] = {case: [] for case in measures}
    present = {case: own for case, own in measures.items() if own.voxels[index - 1]}
    if len(present) * 2 > len(measures):
        for case in measures.keys() - present.keys():
            reason = f"no {name}, which {len(present)} of {len(measures)} cases have"
            found[case].append(Flag("missing label", reason))
    for case, own in present.items():
        # What a photograph shows often runs out of its frame; what a scan shows was meant to be inside.
        if own.unit == "ml" and own.at_border[index - 1]:
            found[case].append(Flag("border", f"{name} touches the border of the scan"))
    if len(present) >= _FEWEST_CASES:
        cases = list(present)
        amounts = [present[case].amount(index) for case in cases]
        pieces = [present[case].pieces[index - 1] for case in cases]
        unit = next(iter(present.values())).unit
        for kind, values, text in (
            ("volume", amounts, f"{{:.4g}} {unit} of {name}"),
            ("pieces", pieces, f"{{}} pieces of {name}"),
        ):
            for case, value, z in zip(cases, values, modified_z(values), strict=True):
                if abs(z) > _OUTLYING_Z:
                    reason = f"{text.format(value)}, median {np.median(values):.4g}"
                    found[case].append(Flag(kind, reason))
    return found
