"""The classes of the recipes have SNOMED codes, which are in DICOM's own dictionary; others are said."""

from __future__ import annotations

import pytest
from pydicom.sr._concepts_dict import concepts

from helpers import recipes
from helpers.errors import ParameterError
from helpers.params.model import RunParams
from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import read_yaml_mapping
from helpers.recipes.base import LabelSet
from helpers.recipes.segments import segments_of, without_code

MEANINGS = {
    (code, meaning.casefold()) for entries in concepts["SCT"].values() for code, (meaning, _) in entries.items()
}


def test_every_code_has_its_meaning_in_dicoms_dictionary():
    sections = read_yaml_mapping(PARAMS_FOLDER / "segments.yaml")
    codes = [tuple(code) for entries in sections.values() for entry in entries.values() for code in entry.values()]
    assert len(codes) > 20
    assert [code for code in codes if (str(code[0]), code[1].casefold()) not in MEANINGS] == []


@pytest.mark.parametrize("name", ["unet3d_brats", "unetpp3d_liver", "nnunet_heart"])
def test_every_class_of_the_shipped_volume_recipes_has_a_code(name):
    recipe = recipes.load(name)
    params = recipe.prepare_params()
    segments = segments_of(recipe.labels(params), params)
    assert len(segments) == len(recipe.labels(params)) - 1 and without_code(segments) == []


def test_a_class_without_a_code_is_said_and_a_file_can_name_one(tmp_path, caplog):
    labels = LabelSet(("background", "Spleen", "duct"))
    (_, duct) = segments_of(labels, RunParams(recipe="nnunet"))
    assert without_code([duct]) == ["duct"] and (duct.number, duct.kind.meaning) == (2, "duct")
    assert "'duct' has no SNOMED code" in caplog.text and "Spleen" not in caplog.text
    path = tmp_path / "codes.yaml"
    path.write_text(
        "Duct: {category: [91723000, Anatomical Structure], type: [28273000, Bile duct]}", encoding="utf-8"
    )
    segments = segments_of(labels, RunParams(recipe="nnunet", segment_codes=str(path)))
    assert without_code(segments) == [] and segments[1].kind.value == "28273000"


@pytest.mark.parametrize(
    "entry", ["5", "{type: [1, a]}", "{category: [1, a], type: [x, a]}", "{category: 1, type: 2}"]
)
def test_a_file_of_another_form_is_refused(tmp_path, entry):
    path = tmp_path / "codes.yaml"
    path.write_text(f"duct: {entry}", encoding="utf-8")
    with pytest.raises(ParameterError, match=r"codes\.yaml: duct is not the description of a class"):
        segments_of(LabelSet(("background", "duct")), RunParams(recipe="nnunet", segment_codes=str(path)))
