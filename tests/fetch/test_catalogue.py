"""The catalogue lists every official file, refuses incomplete entries, and agrees with the published facts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from helpers.errors import ParameterError
from helpers.fetch.catalogue import DEFAULT_CATALOGUE, find_sources, load_catalogue, pick_items
from helpers.fetch.verify import LAYOUTS

RECIPES = ("unet3d_brats", "unet_carvana", "fcn_voc2012", "unetpp3d_liver", "nnunet_heart")


@pytest.fixture(scope="module")
def catalogue():
    return load_catalogue()


def test_every_recipe_has_weights_data_disk_and_a_layout_to_verify(catalogue):
    assert tuple(catalogue.recipes) == RECIPES and set(LAYOUTS) == set(RECIPES)
    for sources in catalogue.recipes.values():
        assert {item.kind for item in sources.items} == {"weights", "data"}


def test_the_digests_that_are_known_are_the_published_ones(catalogue):
    digests = {item.name: item.md5 for sources in catalogue.recipes.values() for item in sources.items}
    assert digests["fcn_r50_d8_weights"] == "0b42f76eb2e3779a5f802acb5ded5eed"  # the source document
    assert digests["voc2012_trainval"] == "6cd6e144f989b92b3379bac3b3de84fd"  # torchvision
    assert digests["msd_task03_liver"] == "a90ec6c4aa7f6a3d087205e23d4e6397"  # MONAI
    assert digests["msd_task02_heart"] == "06ee59366e1e5124267b774dbd654057"  # MONAI


def test_the_liver_disk_is_given_for_the_source_and_for_this_project(catalogue):
    disk = catalogue.recipes["unetpp3d_liver"].disk
    assert "260 GB" in disk.source_pipeline and "400 GB" in disk.source_pipeline
    assert disk.download_gb + disk.unpacked_gb + disk.our_run_gb < 70


def test_files_behind_a_login_have_manual_steps(catalogue):
    manual = {item.name for s in catalogue.recipes.values() for item in s.items if item.url is None}
    assert manual == {"brats2018_training", "carvana_train", "carvana_train_masks", "unetpp_weights"}


def test_no_package_registry_is_named():
    assert not re.search(r"pypi|npmjs|conda|docker", DEFAULT_CATALOGUE.read_text(encoding="utf-8"), re.I)


def test_items_are_picked_by_kind_and_by_name(catalogue):
    sources = find_sources(catalogue, "unet_carvana")
    assert [item.name for item in pick_items(sources, ["weights"])] == ["unet_weights", "unet_bilinear_weights"]
    assert [item.name for item in pick_items(sources, "carvana_train")] == ["carvana_train"]
    assert len(pick_items(sources)) == 4
    with pytest.raises(ParameterError, match="Did you mean 'carvana_train'"):
        pick_items(sources, ["carvana_trian"])
    with pytest.raises(ParameterError, match="Did you mean 'unet_carvana'"):
        find_sources(catalogue, "unet_carvanna")


CHANGES = [
    ({"url": "ftp://host/a"}, "not an http or https address"),
    ({"url": "file:///etc/passwd"}, "not an http or https address"),
    ({"file": "../UNet.pth"}, "not a path below"),
    ({"file": "/UNet.pth"}, "not a path below"),
    ({"folder": "a/../../b"}, "not a path below"),
    ({"md5": "0B42"}, "not a lower-case hexadecimal md5"),
    ({"url": None}, "either a url or manual steps"),
    ({"digest_note": "another source"}, "must contain: not published"),
    ({"licence": None}, "licence"),
    ({"adress": "x"}, "unknown parameter"),
]


@pytest.mark.parametrize("change, line", CHANGES, ids=[str(change) for change, _ in CHANGES])
def test_a_wrong_entry_is_refused_in_one_line(change, line, tmp_path: Path):
    content = yaml.safe_load(DEFAULT_CATALOGUE.read_text(encoding="utf-8"))
    content["recipes"]["unet_carvana"]["items"][0] |= change
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ParameterError, match=line) as caught:
        load_catalogue(path)
    assert "\n" not in str(caught.value)


def test_two_items_of_one_file_are_refused(tmp_path: Path):
    content = yaml.safe_load(DEFAULT_CATALOGUE.read_text(encoding="utf-8"))
    items = content["recipes"]["unet_carvana"]["items"]
    items.append(items[0] | {"name": "again"})
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ParameterError, match="share a name or a file"):
        load_catalogue(path)
