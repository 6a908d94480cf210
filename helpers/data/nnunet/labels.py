"""The labels and regions of a data set of nnU-Net v2, as its `dataset.json` declares them.

Source: MIC-DKFZ/nnUNet v2, nnunetv2/utilities/label_handling/label_handling.py. nnU-Net requires that the background
is 0, that label values are consecutive, and that the ignore label is the largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from helpers.errors import DataError

_LARGEST = 255  # a mask has eight bits


@dataclass(frozen=True)
class PlanLabels:
    """The labels of a data set.

    Attributes:
        names: of the label values 0, 1, ...; the background first.
        regions: name and label values of each foreground region, in the order of the network's outputs; empty if the
            network separates labels.
        class_order: the label that each region paints, in this order, over the earlier ones.
        ignore: the label of a truth that was left undecided; None without one.
    """

    names: tuple[str, ...]
    regions: tuple[tuple[str, tuple[int, ...]], ...] = ()
    class_order: tuple[int, ...] = ()
    ignore: int | None = None


def labels_of_v2(dataset: Mapping) -> PlanLabels:
    """Reads the labels of a `dataset.json` of v2.

    Raises:
        DataError: the background is not 0, values are not consecutive or exceed 255, the ignore label is not the
            largest, or `regions_class_order` does not fit the regions.

    >>> labels_of_v2({"labels": {"background": 0, "tumour": 1, "liver": 2, "ignore": 3}})
    PlanLabels(names=('background', 'tumour', 'liver'), regions=(), class_order=(), ignore=3)
    >>> regions = {"background": 0, "whole": [1, 2], "core": 2}
    >>> labels_of_v2({"labels": regions, "regions_class_order": [1, 2]}).names
    ('background', 'rest of whole', 'core')
    """
    declared = {str(name): _values(name, value) for name, value in dataset["labels"].items()}
    if declared.get("background") != (0,):
        raise DataError("the background of dataset.json is not label 0", received=declared.get("background", "none"))
    ignore = declared.pop("ignore", None)
    values = sorted({value for values in declared.values() for value in values})
    if values != list(range(len(values))) or values[-1] > _LARGEST:
        raise DataError(
            "the label values of dataset.json are not 0, 1, 2, …",
            received=_some(values),
            expected=f"consecutive values, at most {_LARGEST}",
        )
    if ignore is not None and ignore != (len(values),):
        raise DataError("the ignore label is not the largest label", received=ignore, expected=len(values))
    ignored = None if ignore is None else ignore[0]
    if all(len(each) == 1 for each in declared.values()):
        names = {each[0]: name for name, each in declared.items()}
        return PlanLabels(tuple(names[value] for value in values), ignore=ignored)
    regions = tuple((name, each) for name, each in declared.items() if set(each) != {0})
    order = _class_order(dataset, regions, values)
    return PlanLabels(_names_of_values(values, regions, order), regions, order, ignored)


def _values(name: object, value: object) -> tuple[int, ...]:
    given = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not given or any(type(each) is not int for each in given):
        raise DataError("a label of dataset.json is not a number", received=f"{name}: {value}")
    return tuple(given)


def _class_order(dataset: Mapping, regions: Sequence[tuple], values: Sequence[int]) -> tuple[int, ...]:
    given = dataset.get("regions_class_order")
    order = tuple(int(value) for value in given or ())
    if len(order) != len(regions) or not set(order) <= set(values):
        raise DataError(
            "regions_class_order does not fit the regions of dataset.json",
            received=given,
            expected=f"one label for each of {', '.join(name for name, _ in regions)}",
        )
    return order


def _names_of_values(
    values: Sequence[int], regions: Sequence[tuple[str, tuple[int, ...]]], order: Sequence[int]
) -> tuple[str, ...]:
    """A label is what remains of the region that paints it, below the regions that are painted later."""
    names = {value: f"label {value}" for value in values} | {0: "background"}
    for (name, within), value in zip(regions, order, strict=True):
        names[value] = name if len(set(within)) == 1 else f"rest of {name}"
    return tuple(names[value] for value in values)


def _some(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:8])
    return f"{len(values)} values: {shown}{', …' if len(values) > 8 else ''}"
