"""`cookbook new-card` writes a card that can be read at once, from what the model says about itself."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch import nn

from helpers.card.reading import parse_card
from helpers.cli import main
from helpers.errors import CookbookError
from tests.card import bundles
from tests.card import small_models as small


def new_card(model, *more: str):
    """The card of a model and its text."""
    target = model.parent / "card.yaml"
    assert main(["new-card", str(model), "-o", str(target), *more]) == 0
    text = target.read_text(encoding="utf-8")
    return parse_card(yaml.safe_load(text), "card.yaml"), text


@pytest.mark.parametrize(
    ("ending", "kind", "activation"),
    [("", "logits", None), ("Softmax", "probabilities", "softmax"), ("Sigmoid", "probabilities", "sigmoid")],
)
def test_the_last_op_says_what_comes_out(tmp_path, ending, kind, activation):
    card, text = new_card(small.mixer(tmp_path / "m.onnx", ending, opset=15))
    assert (card.output.kind, card.output.activation) == (kind, activation)
    assert len(card.classes) == (3 if ending == "Sigmoid" else 2)
    assert card.model.file == "m.onnx" and card.preparation.size == [16, 24]
    assert "opset 15" in text and "fixed in the model" in text and "CHECK" in text


def test_an_argmax_is_a_label_map(tmp_path):
    card, _ = new_card(small.mixer(tmp_path / "m.onnx", "ArgMax"))
    assert card.output.kind == "label_map"


def test_channels_last_and_further_outputs_are_noticed(tmp_path):
    (tmp_path / "two").mkdir()
    last, _ = new_card(small.channels_last(tmp_path / "m.onnx"))
    assert last.model.layout == "channels_last" and last.preparation.size == [16, 24]
    several, text = new_card(small.two_outputs(tmp_path / "two" / "m.onnx"))
    assert several.model.output == 0 and "further output other" in text


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_an_archive_of_torch_is_tried_once(tmp_path, suffix):
    network, example = nn.Conv3d(2, 4, 3, padding=1).eval(), torch.zeros(1, 2, 8, 8, 8)
    path = tmp_path / f"m{suffix}"
    if suffix == ".pt2":
        torch.export.save(torch.export.export(network, (example,)), path)
    else:
        torch.jit.trace(network, example).save(str(path))
    card, text = new_card(path)
    assert card.data.kind == "volume" and len(card.data.files) == 2 and len(card.classes) == 4
    assert card.preparation.size == ([8, 8, 8] if suffix == ".pt2" else [96, 96, 96])
    assert "torch opened it and ran the program in it" in text


def test_a_bundle_lists_what_was_not_expressed(tmp_path, capsys):
    folder = bundles.write_bundle(tmp_path / "bundle", *bundles.brats())
    assert main(["new-card", str(folder)]) == 0
    assert (folder / "card.yaml").is_file()
    assert "not expressed: postprocessing Lambda" in capsys.readouterr().out


def test_a_card_that_exists_is_kept_unless_forced(tmp_path, capsys):
    model = small.mixer(tmp_path / "m.onnx")
    (tmp_path / "card.yaml").write_text("mine", encoding="utf-8")
    assert main(["new-card", str(model)]) == 2
    assert (tmp_path / "card.yaml").read_text(encoding="utf-8") == "mine" and "--force" in capsys.readouterr().err
    assert main(["new-card", str(model), "--force"]) == 0


@pytest.mark.parametrize(("name", "said"), [("m.txt", "is not a model file"), ("weights.pt", "has no network in it")])
def test_other_files_write_no_card(tmp_path, capsys, name, said):
    torch.save({"a": torch.zeros(1)}, tmp_path / name)
    assert main(["new-card", str(tmp_path / name)]) in (1, 2)
    assert said in capsys.readouterr().err and not (tmp_path / "card.yaml").exists()


def test_a_written_card_names_the_model_from_where_it_is(tmp_path):
    model = small.mixer(tmp_path / "m.onnx")
    (tmp_path / "cards").mkdir()
    assert main(["new-card", str(model), "-o", str(tmp_path / "cards" / "c.yaml")]) == 0
    content = yaml.safe_load((tmp_path / "cards" / "c.yaml").read_text(encoding="utf-8"))
    assert content["model"]["file"] == str(model)


def test_a_model_without_an_image_is_refused(tmp_path):
    nodes = [small.helper.make_node("Relu", ["x"], ["y"], "last")]
    small.save_model(tmp_path / "m.onnx", nodes, ("x", 1, [1, 7]), [("y", 1, [1, 7])], {})
    from helpers.card.writing import write_card

    with pytest.raises(CookbookError, match="does not take an image"):
        write_card(tmp_path / "m.onnx", tmp_path / "card.yaml")
