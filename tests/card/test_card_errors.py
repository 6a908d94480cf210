"""A wrong card ends with one line that says what to do."""

from __future__ import annotations

import pytest
import torch
import yaml
from onnx import TensorProto, helper

from helpers import recipes
from helpers.cli import main
from helpers.errors import CookbookError, DataError, ParameterError
from tests.card import small_models as small


def refusal(tmp_path, content: dict | str) -> CookbookError:
    """The error of preparing a run with a card and reading its cases."""
    small.mixer(tmp_path / "unet.onnx")
    data = small.write_pictures(tmp_path / "data")
    card = tmp_path / "card.yaml"
    card.write_text(
        content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), encoding="utf-8"
    )
    recipe = recipes.load("own_model")
    with pytest.raises(CookbookError) as caught:
        params = recipe.prepare_params(profile="cpu", card=str(card), data_root=str(data))
        for files in recipe.cases.list_cases(data, params):
            recipe.cases.read_case(files, params)
    assert "\n" not in caught.value.line()
    return caught.value


def card(**changes: object) -> dict:
    return small.card_of("unet.onnx", **changes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (card(preparation={"intensty": []}), "Did you mean 'intensity'"),
        (card(preparation={"intensity": [{"rnage": [0, 1]}]}), "Did you mean 'range'"),
        (card(preparation={"fit": "letter_box"}), "Did you mean 'letterbox'"),
        (card() | {"classes": {"background": 0}}, "at least 2 items"),
        (card() | {"classes": {0: "background", 1: "thing"}}, "the name first"),
        (card() | {"classes": {"background": 0, "a": 1, "b": 2}}, "3 with sigmoid"),
        (card(data={"files": "images/*.png"}), "{case} where the name"),
        (card(data={"files": "../{case}.png"}), "without .."),
        (card(preparation={"size": [512, 512]}), "Leave it out"),
        (card(preparation={"size": [16, 24, 3]}), "[height, width] for a picture"),
        (card(preparation={"intensity": [{"mean_std": {"mean": [1.0, 2.0], "std": [1.0]}}]}), "one per channel"),
        (card(preparation={"intensity": [{"range": [0, 255], "clip": [0, 1]}]}), "one step per item"),
        (card(preparation={"intensity": [{"clip": [5, 1]}]}), "the lower number first"),
        (card(preparation={"intensity": [{"scale": float("inf")}]}), "finite number"),
        (card(output={"threshold": 0.7}), "has no meaning for a model whose largest score wins"),
        (card(data={"colour": "grey"}), "expected 3, as in the model"),
        (card() | {"model": {"file": "unet.onnx", "output": "logit"}}, "no output 'logit': expected out"),
        (card() | {"model": {"file": "unett.onnx"}}, "Did you mean 'unet.onnx'"),
        (card() | {"model": "unet.onnx"}, "model in card.yaml is not a section"),
        (card() | {"model": {"factory": "a:b"}}, "names no weights for its factory"),
        (card() | {"scores": {"per_class": ["dice"]}}, "Did you mean 'Dice'"),
        (card() | {"scores": {"regions": {"all": ["thin"]}}}, "Did you mean 'thing'"),
        (card() | {"masks": {"suffix": ".nii.gz"}}, ".png for a picture"),
        ({name: section for name, section in card().items() if name != "output"}, "card.yaml has no output"),
        ("model: {file: unet.onnx\ndata:", "not valid YAML, line 2"),
    ],
)
def test_a_wrong_card_is_a_parameter_error(tmp_path, content, said):
    error = refusal(tmp_path, content)
    assert isinstance(error, ParameterError) and error.exit_code == 2
    assert said in error.line()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (card(data={"files": "images/{case}.png"}), "no file in"),
        (card(data={"truth": "{case}_seg.png"}), "no case in"),
        (card() | {"classes": {"background": 0, "thing": 255}}, "values that no class has: received [1]"),
    ],
)
def test_a_card_that_does_not_fit_the_files_is_a_data_error(tmp_path, content, said):
    error = refusal(tmp_path, content)
    assert isinstance(error, DataError) and said in error.line()


def test_a_model_is_known_by_its_suffix_in_upper_case(tmp_path):
    small.mixer(tmp_path / "UNET.ONNX")
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump(small.card_of("UNET.ONNX"), sort_keys=False), encoding="utf-8")
    recipe = recipes.load("own_model")
    recipe.prepare_params(profile="cpu", card=str(path), data_root=str(small.write_pictures(tmp_path / "data")))


def test_weights_without_a_network_are_explained(tmp_path):
    torch.save({"a.weight": torch.zeros(1)}, tmp_path / "weights.pt")
    error = refusal(tmp_path, card() | {"model": {"file": "weights.pt"}})
    assert "has no network in it" in error.line() and "model.factory" in error.line()


def test_a_factory_does_not_run_without_consent(tmp_path):
    (tmp_path / "trap.py").write_text("raise SystemExit('ran')\n", encoding="utf-8")
    torch.save({}, tmp_path / "weights.pt")
    error = refusal(tmp_path, card() | {"model": {"factory": "trap:build", "checkpoint": "weights.pt"}})
    assert "-p run_factory true" in error.line()


def test_a_missing_card_names_the_command_that_writes_one():
    with pytest.raises(ParameterError, match="cookbook new-card MODEL"):
        recipes.load("own_model").prepare_params(card="nowhere.yaml")


@pytest.mark.parametrize(
    ("element", "said"),
    [
        (TensorProto.STRING, "input image does not hold plain numbers: received string"),
        (TensorProto.BFLOAT16, "received bfloat16"),
        (TensorProto.COMPLEX64, "received complex64"),
        (TensorProto.BOOL, "received bool"),
    ],
)
def test_a_model_that_takes_no_numbers_is_refused_with_the_parameters(tmp_path, element, said):
    """Such as one that decodes the file of a picture itself."""
    source, target = (("image", element, [1, 3, 16, 24]), ("out", element, [1, 3, 16, 24]))
    small.save_model(tmp_path / "net.onnx", [helper.make_node("Identity", ["image"], ["out"])], source, [target], {})
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(small.card_of("net.onnx"), sort_keys=False), encoding="utf-8")
    data = small.write_pictures(tmp_path / "data")
    with pytest.raises(ParameterError, match=said):
        recipes.load("own_model").prepare_params(card=str(tmp_path / "card.yaml"), data_root=str(data))
    assert main(["new-card", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "new.yaml")]) == 2
    assert not (tmp_path / "new.yaml").exists()
