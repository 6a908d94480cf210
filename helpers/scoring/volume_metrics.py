"""Surface, volume and lesion metrics of the structures in a volume, next to a recipe's own scores.

| metric | unit | definition |
|---|---|---|
| NSD | | share of both surfaces within a tolerance of the other (`boundaries`) |
| HD95 | mm | 95th percentile of the surface distances, the larger of the two directions |
| ASSD | mm | mean of the surface distances of both directions, by area |
| volume difference | ml | volume of the prediction minus volume of the truth |
| lesion Dice | | mean Dice of the lesions that count; a false component counts as 0 (`lesions`) |
| lesion F1 | | 2 found / (2 found + missed + false) |
| lesion HD95 | mm | mean HD95 of the lesions that count; a missed one and a false one count as the penalty |
| ECE | | expected calibration error of saved probabilities (`calibration`) |

If both masks of a structure are empty, it has no surface metrics and no volume difference, and means leave it out. If
only one is empty, NSD is 0, and HD95 and ASSD are the diagonal of the image, so that a missed structure improves no
mean. Lesion metrics without any lesion and without a false one are perfect, as in BraTS. Such cases are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from helpers.data.regions import bounding_box
from helpers.errors import ParameterError
from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import explain_validation_error, read_yaml_mapping
from helpers.scoring.boundaries import Surfaces, surfaces_of_masks, surfaces_of_structures
from helpers.scoring.lesions import Lesion, LesionMap, LesionRule, find_lesions

Better = Literal["larger", "smaller", "nearer to 0"]


@dataclass(frozen=True)
class Metric:
    """One metric: its unit, and which values are better."""

    unit: str
    better: Better


METRICS: dict[str, Metric] = {
    "NSD": Metric("", "larger"),
    "HD95": Metric("mm", "smaller"),
    "ASSD": Metric("mm", "smaller"),
    "volume difference": Metric("ml", "nearer to 0"),
    "lesion Dice": Metric("", "larger"),
    "lesion F1": Metric("", "larger"),
    "lesion HD95": Metric("mm", "smaller"),
    "ECE": Metric("", "smaller"),
}
_OF_MASKS = ("NSD", "HD95", "ASSD", "volume difference")
_OF_LESIONS = ("lesion Dice", "lesion F1", "lesion HD95")


@dataclass(frozen=True)
class StructureRule:
    """How one structure is measured.

    Attributes:
        tolerance_mm: of NSD.
        lesions: the rule of its lesions; None: it is not scored lesion by lesion.
        has_probabilities: whether probabilities are saved with the masks, for its calibration error.
    """

    tolerance_mm: float
    lesions: LesionRule | None = None
    has_probabilities: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of the structure, in the order of tables."""
        return _OF_MASKS + (_OF_LESIONS if self.lesions else ()) + (("ECE",) if self.has_probabilities else ())

    def to_json(self) -> dict[str, object]:
        """What decides the values, as JSON values."""
        return {"tolerance_mm": self.tolerance_mm, "lesions": asdict(self.lesions) if self.lesions else None}


@dataclass(frozen=True)
class CaseMetrics:
    """The metrics of one case.

    Attributes:
        values: by name, such as `HD95 liver`; None if both masks are empty.
        empty: structure to which of its masks is empty: both, prediction or truth; only those with an empty one.
        lesions: structure to the number of lesions found and missed that count, and of false ones.
    """

    values: dict[str, float | None]
    empty: dict[str, str]
    lesions: dict[str, dict[str, int]]


def metric_name(metric: str, structure: str) -> str:
    """The name of a metric of a structure in tables and in `metrics.json`.

    >>> metric_name("HD95", "liver")
    'HD95 liver'
    """
    return f"{metric} {structure}"


def metric_of(name: str) -> Metric:
    """The metric of a name; a name of another score is larger if better.

    >>> metric_of("lesion HD95 WT").better, metric_of("liver").better
    ('smaller', 'larger')
    """
    found = [metric for title, metric in METRICS.items() if name.startswith(f"{title} ")]
    return found[0] if found else Metric("", "larger")


def metric_names(rules: Mapping[str, StructureRule]) -> tuple[str, ...]:
    """The names of every metric of a run, in the order of tables."""
    return tuple(metric_name(metric, name) for name, rule in rules.items() for metric in rule.metrics)


def measure_case(
    prediction: np.ndarray,
    truth: np.ndarray,
    structures: Mapping[str, Sequence[int]],
    rules: Mapping[str, StructureRule],
    spacing_mm: Sequence[float],
) -> CaseMetrics:
    """Measures every structure of one case.

    Args:
        prediction, truth: class indices (Z, Y, X), uint8; voxels that are not to be counted are 0 in both.
        structures, rules: class indices and rules by name.
        spacing_mm: (Z, Y, X).

    >>> truth = np.zeros((4, 8, 8), np.uint8)
    >>> truth[1:3, 2:6, 2:6] = 1
    >>> found = measure_case(np.roll(truth, 1, 2), truth, {"liver": (1,)}, {"liver": StructureRule(1.0)}, (3, 1, 1))
    >>> {name: round(value, 2) for name, value in found.values.items()}
    {'NSD liver': 1.0, 'HD95 liver': 1.0, 'ASSD liver': 0.32, 'volume difference liver': 0.0}
    """
    diagonal = math.hypot(*(side * step for side, step in zip(truth.shape, spacing_mm, strict=True)))
    # The margin leaves room for lesions to grow together, as they do in the whole volume.
    margin = max((rule.lesions.dilation for rule in rules.values() if rule.lesions), default=0)
    box = bounding_box((prediction | truth) != 0, margin=margin) or (slice(0, 1),) * 3
    prediction, truth = prediction[box], truth[box]
    surfaces = surfaces_of_structures(prediction, truth, structures, spacing_mm)
    found = CaseMetrics({}, {}, {})
    for name, labels in structures.items():
        rule, surface = rules[name], surfaces[name]
        ours, theirs = (_union(volume, labels) for volume in (prediction, truth))
        difference = (np.count_nonzero(ours) - np.count_nonzero(theirs)) * math.prod(spacing_mm) / 1000
        own = _of_surfaces(surface, rule.tolerance_mm, diagonal, float(difference))
        if surface.both_empty or surface.one_empty:
            found.empty[name] = "both" if surface.both_empty else "truth" if surface.to_truth.size else "prediction"
        if rule.lesions:
            scored = score_lesions(find_lesions(ours, theirs, spacing_mm, rule.lesions))
            own |= {"lesion Dice": scored.dice, "lesion F1": scored.f1, "lesion HD95": scored.hd95_mm}
            found.lesions[name] = {"found": scored.found, "missed": scored.missed, "false": scored.false}
        found.values.update({metric_name(metric, name): own[metric] for metric in rule.metrics if metric in own})
    return found


def _union(volume: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    inside = np.zeros(256, bool)
    inside[list(labels)] = True
    return inside[volume]


def _of_surfaces(found: Surfaces, tolerance: float, diagonal: float, difference: float) -> dict[str, float | None]:
    hausdorff, average = found.hausdorff(), found.average_distance()
    return {
        "NSD": found.surface_dice(tolerance),
        "HD95": None if hausdorff is None else min(hausdorff, diagonal),
        "ASSD": None if average is None else min(average, diagonal),
        "volume difference": None if found.both_empty else difference,
    }


@dataclass(frozen=True)
class LesionScores:
    """The lesion-wise scores of one structure.

    Attributes:
        dice, f1: 0..1; 1 if no lesion counts and nothing is false.
        hd95_mm: 0 in that case.
        found, missed: lesions that count.
        false: components that belong to no lesion.
    """

    dice: float
    f1: float
    hd95_mm: float
    found: int
    missed: int
    false: int


def score_lesions(lesions: LesionMap) -> LesionScores:
    """The lesion-wise scores of BraTS: means over the lesions that count and the false components."""
    counting = [lesion for lesion in lesions.lesions if lesion.counts]
    kinds: list[str] = [lesion.kind for lesion in counting]
    found, missed, false = (kinds.count(kind) for kind in ("found", "missed", "false"))
    if not counting:
        return LesionScores(1.0, 1.0, 0.0, 0, 0, 0)
    return LesionScores(
        sum(lesion.dice for lesion in counting) / len(counting),
        2 * found / (2 * found + missed + false),
        sum(lesion_hd95(lesions, lesion) for lesion in counting) / len(counting),
        found,
        missed,
        false,
    )


def lesion_hd95(lesions: LesionMap, lesion: Lesion) -> float:
    """HD95 in mm of a lesion with the components that belong to it; the penalty if it is missed or false."""
    if lesion.kind != "found":
        return lesions.rule.penalty_mm
    boxes = [lesions.extent_of_component(number) for number in lesion.predictions]
    starts = [side.start for side in lesions.box]
    local = tuple(
        slice(
            min(box[axis].start for box in (lesion.extent, *boxes)) - start,
            max(box[axis].stop for box in (lesion.extent, *boxes)) - start,
        )
        for axis, start in enumerate(starts)
    )
    truth, prediction = lesions.truth[local] == lesion.number, np.isin(lesions.prediction[local], lesion.predictions)
    return float(surfaces_of_masks(prediction, truth, lesions.spacing_mm).hausdorff() or 0.0)


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    dilation: int = Field(ge=0)
    minimum_mm3: float = Field(ge=0)
    penalty_mm: float = Field(gt=0)


class _MetricsFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    tolerances_mm: dict[str, float | dict[str, float]]
    lesions: dict[str, dict[str, str]]
    lesion_names: list[str]
    lesion_names_rule: str
    lesion_rules: dict[str, _Rule]


def structure_rules(
    recipe: str,
    structures: Iterable[str],
    tolerances_mm: Mapping[str, float] | None = None,
    lesion_labels: Sequence[str] | None = None,
) -> dict[str, StructureRule]:
    """The rules of a run's structures, from `params/metrics.yaml` and its parameters.

    Args:
        recipe: its name.
        structures: their names.
        tolerances_mm: of the run, by structure.
        lesion_labels: the structures to score lesion by lesion; None: those of the file.

    Raises:
        ParameterError: the file is damaged.
    """
    path = PARAMS_FOLDER / "metrics.yaml"
    try:
        content = _MetricsFile(**read_yaml_mapping(path))
    except ValidationError as error:
        raise explain_validation_error(error, _MetricsFile, where=path.name) from None
    tolerances = {**_by_structure(content.tolerances_mm.get(recipe)), **(tolerances_mm or {})}
    default = content.tolerances_mm.get("default")
    if not isinstance(default, float):
        raise ParameterError(
            "metrics.yaml has no default tolerance", expected="tolerances_mm.default, a number in mm"
        )
    named = content.lesions.get(recipe, {})
    rules = {}
    for name in structures:
        is_lesion = name in named or (not named and name.lower() in {each.lower() for each in content.lesion_names})
        if is_lesion if lesion_labels is None else name in lesion_labels:
            rule = content.lesion_rules.get(named.get(name, content.lesion_names_rule))
            if rule is None:
                raise ParameterError(f"metrics.yaml has no lesion rule for {name}", expected="a name in lesion_rules")
            rules[name] = StructureRule(tolerances.get(name, default), LesionRule(**rule.model_dump()))
        else:
            rules[name] = StructureRule(tolerances.get(name, default))
    return rules


def _by_structure(section: float | Mapping[str, float] | None) -> Mapping[str, float]:
    return section if isinstance(section, Mapping) else {}
