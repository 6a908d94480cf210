"""A MONAI bundle's configuration becomes a card, and what a card cannot say is said."""

from __future__ import annotations

import pytest
import yaml

from helpers.card.monai import read_bundle
from helpers.card.reading import parse_card
from helpers.errors import ParameterError
from tests.card import bundles


def read_card(made: tuple[dict, dict], folder):
    bundle = read_bundle(bundles.write_bundle(folder / "bundle", *made))
    text = bundle.card_text(folder / "bundle" / "card.yaml")
    return parse_card(yaml.safe_load(text), "card.yaml"), bundle.not_expressed, text


def test_windows_spacing_and_a_ct_window(tmp_path):
    card, missing, text = read_card(bundles.spleen(), tmp_path)
    assert missing == []
    assert (card.model.factory, card.model.checkpoint) == ("monai.networks.nets:UNet", "models/model.pt")
    assert card.model.arguments["channels"] == [16, 32]
    preparation = card.preparation
    assert (preparation.fit, preparation.size, preparation.tile_step_size) == ("window", [96, 96, 96], 0.5)
    assert (preparation.axes, preparation.spacing_mm, preparation.gaussian) == ("RAS", [1.5, 1.5, 2.0], False)
    assert [step.model_dump(exclude_none=True) for step in preparation.intensity] == [
        {"clip": [-57.0, 164.0]},
        {"range": [-57.0, 164.0]},
    ]
    assert (card.output.activation, card.classes) == ("softmax", {"background": 0, "spleen": 1})
    assert "run_factory true" in text


def test_an_exported_network_needs_no_monai(tmp_path):
    folder = bundles.write_bundle(tmp_path / "bundle", *bundles.spleen())
    (folder / "models").mkdir()
    (folder / "models" / "model.ts").write_bytes(b"")
    bundle = read_bundle(folder)
    assert bundle.content["model"] == {"file": "models/model.ts"}
    assert str(folder / "models" / "model.ts") in bundle.card_text(tmp_path / "elsewhere" / "card.yaml")


def test_sigmoid_regions_get_a_background_and_a_python_expression_is_reported(tmp_path):
    card, missing, _ = read_card(bundles.brats(), tmp_path)
    assert list(card.classes) == ["background", "Tumor core", "Whole tumor", "Enhancing"]
    assert (card.output.activation, card.output.threshold) == ("sigmoid", 0.5)
    assert card.preparation.axes == "xyz" and len(card.data.files) == 4
    assert card.preparation.intensity[0].z_score is not None and card.preparation.intensity[0].z_score.nonzero
    assert any("Lambda" in line for line in missing) and any("order and values" in line for line in missing)


def test_references_are_followed_and_expressions_are_not_evaluated(tmp_path):
    card, missing, text = read_card(bundles.whole_body(), tmp_path)
    assert card.preparation.tile_step_size == 0.75 and card.preparation.gaussian
    assert card.preparation.spacing_mm is None
    assert any(line.startswith("preprocessing Spacing (pixdim: $[1.5") for line in missing)
    assert any("replicate" in line for line in missing)
    assert all(line in text for line in missing)
    z_score, percentiles, stretch = card.preparation.intensity
    assert z_score.z_score.per_channel is False and (percentiles.percentiles.low, percentiles.percentiles.high) == (
        0,
        100,
    )
    assert stretch.mean_std.model_dump() == {"mean": [0.5], "std": [0.5]}


def test_pictures_have_x_first(tmp_path):
    card, _, _ = read_card(bundles.endoscopy(), tmp_path)
    assert (card.data.kind, card.data.colour) == ("picture", "rgb")
    assert (card.preparation.fit, card.preparation.size, card.preparation.axes) == ("resize", [736, 480], "xyz")


@pytest.mark.parametrize("name", ["inference.json", "metadata.json"])
def test_a_folder_without_configuration_is_refused(tmp_path, name):
    folder = bundles.write_bundle(tmp_path / "bundle", *bundles.spleen())
    (folder / "configs" / name).unlink()
    with pytest.raises(ParameterError, match="is not a MONAI bundle"):
        read_bundle(folder)


def test_a_damaged_configuration_is_one_line(tmp_path):
    folder = bundles.write_bundle(tmp_path / "bundle", *bundles.spleen())
    (folder / "configs" / "metadata.json").write_text("{", encoding="utf-8")
    with pytest.raises(ParameterError, match="cannot be read"):
        read_bundle(folder)


def test_a_bundle_without_a_network_is_refused(tmp_path):
    inference, metadata = bundles.spleen()
    del inference["network_def"]
    with pytest.raises(ParameterError, match="has no network"):
        read_bundle(bundles.write_bundle(tmp_path / "bundle", inference, metadata))
