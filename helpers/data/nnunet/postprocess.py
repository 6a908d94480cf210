"""nnU-Net's postprocessing of masks: removes all but the largest component of some classes.

Sources: MIC-DKFZ/nnUNet v1.7.1 (postprocessing/connected_components.py: connected by faces) and v2
(postprocessing/remove_connected_components.py: by edges and corners too).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.regions import label_components
from helpers.errors import DataError

_MODULE_OF_V2 = "nnunetv2.postprocessing.remove_connected_components"
_STEP_OF_V2 = "remove_all_but_largest_component_from_segmentation"


@dataclass(frozen=True)
class KeepLargest:
    """A rule: of these classes, merged into one, every component of the largest size is kept, and no other.

    In v1 those of at least `minimum_mm3` are kept too, if that is given.
    """

    classes: tuple[int, ...]
    version: int = 1
    minimum_mm3: float | None = None


def read_postprocessing(path: Path) -> tuple[KeepLargest, ...]:
    """Reads the rules of a postprocessing.json of either version or a postprocessing.pkl of v2, in order.

    There are none if none improved the scores. Nothing in a pickle is run: its function is known by its name.

    Raises:
        DataError: the file is not one of nnU-Net's.
        CheckpointError: a pickle contains more than plain values and that name.
    """
    try:
        if path.suffix == ".pkl":
            from helpers.networks.safe_pickle import read_plain_pickle

            names, arguments = read_plain_pickle(path, names=(f"{_MODULE_OF_V2}.{_STEP_OF_V2}",))
            steps = zip((str(name).rpartition(".")[2] for name in names), arguments, strict=True)
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
            if "for_which_classes" in content:
                return tuple(_rules_of_v1(content))
            steps = zip(content["postprocessing_fns"], content["postprocessing_kwargs"], strict=True)
        return tuple(_rule_of_v2(name, options) for name, options in steps)
    except (OSError, ValueError, OverflowError, KeyError, TypeError, SyntaxError, AttributeError) as error:
        raise DataError(
            f"{path} is not a postprocessing{path.suffix} of nnU-Net", received=f"{type(error).__name__}: {error}"
        ) from None


def apply_postprocessing(
    labels: np.ndarray, rules: Sequence[KeepLargest], spacing_mm: Sequence[float] = (1.0, 1.0, 1.0)
) -> np.ndarray:
    """Returns a copy of labels (Z, Y, X) without the components that the rules remove.

    >>> labels = np.array([[[1, 1, 0, 1, 0, 2]]], np.uint8)
    >>> apply_postprocessing(labels, [KeepLargest((1,))]).tolist()
    [[[1, 1, 0, 0, 0, 2]]]
    """
    labels = labels.copy()
    for rule in rules:
        mask = np.isin(labels, rule.classes)
        components, sizes = label_components(mask, corners=rule.version == 2)
        if len(sizes) <= 2:
            continue
        kept = sizes == sizes.max()
        if rule.minimum_mm3 is not None:
            kept |= sizes * float(np.prod(spacing_mm)) >= rule.minimum_mm3
        labels[mask & ~kept[components]] = 0
    return labels


def _rules_of_v1(content: Mapping) -> list[KeepLargest]:
    sizes = content.get("min_valid_object_sizes") or {}
    sizes = ast.literal_eval(sizes) if isinstance(sizes, str) else sizes
    sizes = {_classes(ast.literal_eval(key) if isinstance(key, str) else key): value for key, value in sizes.items()}
    groups = [_classes(group) for group in content["for_which_classes"] or []]
    return [KeepLargest(group, 1, sizes.get(group)) for group in groups]


def _rule_of_v2(name: str, options: Mapping) -> KeepLargest:
    if name != _STEP_OF_V2:
        raise ValueError(f"unknown step {name}")
    if options.get("background_label", 0) != 0 or options.keys() - {"labels_or_regions", "background_label"}:
        raise ValueError(f"unknown arguments {dict(options)}")
    given = options["labels_or_regions"]
    groups = [_classes(group) for group in (given if isinstance(given, (list, tuple)) else [given])]
    return KeepLargest(tuple(sorted({label for group in groups for label in group})), 2)


def _classes(group: int | np.integer | Sequence[int]) -> tuple[int, ...]:
    return (int(group),) if isinstance(group, (int, np.integer)) else tuple(int(label) for label in group)
