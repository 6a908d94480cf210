"""The classes of a run as segments of a DICOM SEG, with the codes of `params/segments.yaml`."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from helpers.data.formats.dicom_seg import Code, Segment
from helpers.errors import ParameterError
from helpers.params.model import RunParams
from helpers.params.paths import PARAMS_FOLDER, find_input
from helpers.params.yaml_file import read_yaml_mapping
from helpers.recipes.base import LabelSet
from helpers.run.said import say_once

_ANY = "any"
_SNOMED = "SCT"
_PRIVATE = "99COOKBOOK"  # schemes whose names begin with 99 are private
_UNKNOWN = Code("85756007", _SNOMED, "Tissue")  # the category of a class without a code: the most general one
_PARTS = ("category", "type", "region")


def segments_of(labels: LabelSet, params: RunParams) -> list[Segment]:
    """The foreground classes of a run; a class without a code gets a private one, and the log says so.

    Raises:
        ParameterError: the file of `segment_codes` is not of the form of `params/segments.yaml`.

    >>> params = RunParams(recipe="unetpp3d_liver")
    >>> [segment.kind.meaning for segment in segments_of(LabelSet(("background", "Liver", "lesion")), params)]
    ['Liver', 'Lesion']
    """
    known = _known_codes(params)
    segments = []
    for name, number in labels.foreground.items():
        if name.casefold() in known:
            category, kind, region = known[name.casefold()]
        else:
            category, kind, region = _UNKNOWN, Code(str(number), _PRIVATE, name), None
            text = "DICOM SEG: the class %r has no SNOMED code and gets a private one; segment_codes can name one"
            say_once(logging.WARNING, text, name)
        segments.append(Segment(number, name, category, kind, region))
    return segments


def without_code(segments: list[Segment]) -> list[str]:
    """The names of the classes that have a private code."""
    return [segment.name for segment in segments if segment.kind.scheme == _PRIVATE]


Codes = tuple[Code, Code, Code | None]


def _known_codes(params: RunParams) -> dict[str, Codes]:
    """Codes by the name of the class in small letters; the user's own over the recipe's over those of any recipe."""
    shipped = read_yaml_mapping(PARAMS_FOLDER / "segments.yaml")
    sections = [(f"segments.yaml, {name}", shipped.get(name, {})) for name in (_ANY, params.recipe)]
    if params.segment_codes:
        path = find_input(params.segment_codes, parameter="segment_codes")
        sections.append((str(path), read_yaml_mapping(path)))
    return {
        str(name).casefold(): _read_codes(f"{where}: {name}", entry)
        for where, section in sections
        for name, entry in section.items()
    }


def _read_codes(where: str, entry: object) -> Codes:
    if not isinstance(entry, Mapping) or not {"category", "type"} <= set(entry) <= set(_PARTS):
        raise _bad_codes(where, entry)
    category, kind, region = (_read_code(where, entry[part]) if part in entry else None for part in _PARTS)
    assert category is not None and kind is not None
    return category, kind, region


def _read_code(where: str, value: object) -> Code:
    if not isinstance(value, list) or len(value) != 2 or not str(value[0]).isdigit() or not str(value[1]).strip():
        raise _bad_codes(where, value)
    return Code(str(value[0]), _SNOMED, str(value[1]))


def _bad_codes(where: str, received: object) -> ParameterError:
    return ParameterError(
        f"{where} is not the description of a class",
        received=str(received)[:80],
        expected="category and type, and perhaps region, each a code of SNOMED CT as [value, meaning]",
    )
