"""Carvana cases: pairs found and refused by name, masks of every encoding, the source's own preparation."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.data.carvana import (
    find_carvana_cases,
    list_carvana_cases,
    prepare_image,
    prepare_mask,
    read_carvana_case,
    read_class_mask,
    read_image,
    read_mask,
    restore_mask,
    say_layout,
    write_mask,
)
from helpers.data.voc import read_image as read_voc_image
from helpers.errors import DataError

RANDOM = np.random.default_rng(5)
PICTURE = RANDOM.integers(0, 256, (40, 61, 3), np.uint8)
TRUTH = (RANDOM.random((40, 61)) < 0.3).astype(np.uint8)


def save_mask(path: Path, truth: np.ndarray, mode: str, high: int) -> Path:
    if mode == "1":
        image = Image.fromarray(truth.astype(bool))
    else:
        image = Image.fromarray(truth * np.uint8(high))
        if mode == "P":
            image.putpalette([0, 0, 0] + [255, 255, 255] * 255)
    image.save(path)
    return path


def make_case(root: Path, case_id: str) -> None:
    for folder in ("train", "train_masks"):
        (root / folder).mkdir(exist_ok=True)
    Image.fromarray(PICTURE).save(root / "train" / f"{case_id}.jpg", quality=95)
    save_mask(root / "train_masks" / f"{case_id}_mask.gif", TRUTH, "P", 1)


def test_cases_are_paired_and_sorted_by_id(tmp_path):
    for case_id in ("b_02", "a_10", "b_01"):
        make_case(tmp_path, case_id)
    (tmp_path / "train" / "._b_01.jpg").write_bytes(b"left by a file manager")
    cases = list_carvana_cases(tmp_path)
    assert [case.id for case in cases] == ["a_10", "b_01", "b_02"]
    assert cases[0].files["image"] == tmp_path / "train" / "a_10.jpg"
    assert cases[0].truth == tmp_path / "train_masks" / "a_10_mask.gif"
    case = read_carvana_case(cases[0])
    assert (case.image.shape, case.image.dtype) == ((3, 40, 61), np.uint8)
    np.testing.assert_array_equal(case.truth, TRUTH)


def test_folder_without_masks_is_read_without(tmp_path):
    make_case(tmp_path, "a_01")
    (case,) = list_carvana_cases(tmp_path, masks=None)
    assert case.truth is None
    assert read_carvana_case(case).truth is None


def test_missing_mask_is_named(tmp_path):
    for case_id in ("a_01", "a_02"):
        make_case(tmp_path, case_id)
    (tmp_path / "train_masks" / "a_02_mask.gif").unlink()
    with pytest.raises(DataError, match=r"1 of 2 photographs.*a_02_mask\.gif"):
        list_carvana_cases(tmp_path)


def test_a_mask_without_a_photograph_is_reported_and_not_a_case(tmp_path, caplog):
    make_case(tmp_path, "a_01")
    save_mask(tmp_path / "train_masks" / "z_01_mask.gif", TRUTH, "P", 1)
    with caplog.at_level(logging.WARNING, logger="cookbook"):
        assert len(list_carvana_cases(tmp_path)) == 1
    assert "z_01_mask.gif" in caplog.text


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="no folder train:"):
        list_carvana_cases(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="no folder train_masks"):
        list_carvana_cases(tmp_path)
    (tmp_path / "train_masks").mkdir()
    with pytest.raises(DataError, match="has no photographs"):
        list_carvana_cases(tmp_path)


@pytest.mark.parametrize("suffix", ["gif", "png"])
@pytest.mark.parametrize(("mode", "high"), [("P", 1), ("P", 255), ("L", 1), ("L", 255), ("1", 1)])
def test_mask_of_every_encoding_reads_as_0_and_1(tmp_path, suffix, mode, high):
    mask = read_mask(save_mask(tmp_path / f"mask.{suffix}", TRUTH, mode, high))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, TRUTH)


def test_a_written_mask_is_a_grey_png_and_reads_back(tmp_path):
    path = write_mask(tmp_path / "mask.png", TRUTH)
    np.testing.assert_array_equal(read_mask(path), TRUTH)
    with Image.open(path) as image:
        assert (image.mode, image.getextrema()) == ("L", (0, 255))


@pytest.mark.parametrize("value", [0, 1])
def test_mask_of_one_value_keeps_its_meaning(tmp_path, value):
    truth = np.full((5, 7), value, np.uint8)
    np.testing.assert_array_equal(read_mask(save_mask(tmp_path / "mask.gif", truth, "P", 1)), truth)


def test_masks_with_other_values_or_colours_are_refused(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[0, 128, 255]], np.uint8)).save(path)
    with pytest.raises(DataError, match=r"values other than background and car.*128"):
        read_mask(path)
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(path)
    with pytest.raises(DataError, match="values other than background and car"):
        read_mask(path)
    Image.fromarray(PICTURE).save(path)
    with pytest.raises(DataError, match="mode RGB"):
        read_mask(path)


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated"])
@pytest.mark.parametrize(("name", "read"), [("a.jpg", read_image), ("a.gif", read_mask)])
def test_unusable_files_are_refused_by_name(tmp_path, name, read, damage):
    path = tmp_path / name
    noise = RANDOM.integers(0, 2, (300, 300), np.uint8)
    if damage == "empty":
        path.touch()
    elif damage == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1", encoding="utf-8")
    elif damage == "truncated":
        save_mask(path, noise, "P", 1) if name == "a.gif" else Image.fromarray(255 * noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=name):
        read(path)


def test_image_and_mask_of_different_size_are_refused(tmp_path):
    make_case(tmp_path, "a_01")
    save_mask(tmp_path / "train_masks" / "a_01_mask.gif", TRUTH[:-1], "P", 1)
    with pytest.raises(DataError, match=r"a_01 differ.*\(39, 61\).*\(40, 61\)"):
        read_carvana_case(list_carvana_cases(tmp_path)[0])


def test_grey_photograph_becomes_three_channels(tmp_path):
    Image.fromarray(PICTURE[..., 0]).save(tmp_path / "grey.png")
    image = read_image(tmp_path / "grey.png")
    np.testing.assert_array_equal(image, np.stack([PICTURE[..., 0]] * 3))


@pytest.mark.parametrize("size", [572, 33])
def test_prepared_values_equal_the_source_bit_for_bit(tmp_path, size):
    path = tmp_path / "car.jpg"
    Image.fromarray(PICTURE).save(path)
    expected = np.asarray(Image.open(path).resize((size, size), Image.BICUBIC), np.float32)
    prepared = prepare_image(read_image(path), (size, size))
    np.testing.assert_array_equal(prepared, expected.transpose(2, 0, 1) / np.float32(255))
    assert prepared.dtype == np.float32
    assert prepared.flags.c_contiguous


def test_prepared_mask_is_the_sources_resized_gif(tmp_path):
    path = save_mask(tmp_path / "mask.gif", TRUTH, "P", 1)
    expected = np.array(Image.open(path).resize((572, 572)))
    np.testing.assert_array_equal(prepare_mask(read_mask(path)), expected)


@pytest.mark.parametrize("array", [np.zeros((40, 61, 3), np.uint8), np.zeros((3, 4, 4), np.float32)])
def test_arrays_that_are_not_images_are_refused(array):
    with pytest.raises(DataError, match=r"\(3, H, W\) uint8"):
        prepare_image(array)


def test_a_restored_mask_covers_the_original_car():
    truth = np.zeros((128, 191), np.uint8)
    truth[40:90, 30:150] = 1
    restored = restore_mask(prepare_mask(truth).astype(np.float32), 128, 191)
    assert restored.shape == truth.shape
    assert np.count_nonzero(restored != truth) <= 2 * (50 + 120)  # at most the outline


def test_real_photographs_can_be_read_and_prepared():
    root = os.environ.get("COOKBOOK_DATA")
    if not root:
        pytest.skip("COOKBOOK_DATA is not set")
    folder = Path(root) / "carvana-like"
    cases = list_carvana_cases(folder) + list_carvana_cases(folder, images="test", masks=None)[:3]
    assert len(cases) >= 6
    for case in cases:
        read = read_carvana_case(case)
        assert read.image.shape == (3, 1280, 1918)
        prepared = prepare_image(read.image)
        assert prepared.shape == (3, 572, 572)
        assert 0 <= prepared.min() < 0.3 < 0.9 < prepared.max() <= 1
        if read.truth is not None:
            assert 0.1 < read.truth.mean() < 0.3
            assert abs(prepare_mask(read.truth).mean() - read.truth.mean()) < 0.005


LAYOUTS = [
    ("train", "train_masks"),
    ("train_hq", "train_masks"),
    ("data/imgs", "data/masks"),
    ("imgs", "masks"),
    ("images", "masks"),
    (".", "."),
]


@pytest.mark.parametrize(("images", "masks"), LAYOUTS)
@pytest.mark.parametrize(
    ("photograph", "mask"), [("a_01.jpg", "a_01_mask.gif"), ("b.PNG", "b_mask.png"), ("c.jpg", "c_MASK.PNG")]
)
def test_every_layout_and_suffix_is_found_with_and_without_masks(tmp_path, images, masks, photograph, mask):
    (tmp_path / images).mkdir(parents=True, exist_ok=True)
    Image.fromarray(PICTURE).save(tmp_path / images / photograph, format="PNG")
    (case,) = find_carvana_cases(tmp_path)
    assert (case.files["image"], case.truth) == (tmp_path / images / photograph, None)
    assert read_carvana_case(case).truth is None
    assert any(word in say_layout(tmp_path)[0] for word in ("no masks", "without a truth"))
    (tmp_path / masks).mkdir(parents=True, exist_ok=True)
    save_mask(tmp_path / masks / mask, TRUTH, "P", 1)
    (case,) = find_carvana_cases(tmp_path)
    assert case.truth == tmp_path / masks / mask
    np.testing.assert_array_equal(read_carvana_case(case).truth, TRUTH)
    assert say_layout(tmp_path) == (
        [] if images == "train" else [f"photographs are read from {images}, masks from {masks}"]
    )


def test_masks_of_the_photographs_own_name_belong_to_them(tmp_path):
    for folder in ("imgs", "masks"):
        (tmp_path / folder).mkdir()
    Image.fromarray(PICTURE).save(tmp_path / "imgs" / "a.jpg")
    save_mask(tmp_path / "masks" / "a.png", TRUTH, "L", 255)
    assert find_carvana_cases(tmp_path)[0].truth == tmp_path / "masks" / "a.png"


def test_two_photographs_of_one_name_and_broken_links_are_refused(tmp_path):
    for name in ("a.jpg", "a.png"):
        Image.fromarray(PICTURE).save(tmp_path / name)
    with pytest.raises(DataError, match=r"two files for the picture .*a\.jpg and .*a\.png"):
        find_carvana_cases(tmp_path)
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"b\.jpg is a broken link"):
        find_carvana_cases(tmp_path)


@pytest.mark.parametrize("suffix", ["gif", "png"])
@pytest.mark.parametrize("value", [None, 0, 1])
def test_white_is_the_car_whatever_the_order_of_the_palette(tmp_path, suffix, value):
    truth = TRUTH if value is None else np.full((5, 7), value, np.uint8)
    image = Image.fromarray(1 - truth)
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / f"mask.{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"mask.{suffix}"), truth)


def test_black_and_white_in_colours_keeps_its_meaning_through_a_quantiser(tmp_path):
    for truth in (TRUTH, 1 - TRUTH):
        Image.fromarray(truth * np.uint8(255)).convert("RGB").quantize(2).save(tmp_path / "mask.gif")
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.gif"), truth)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("read", [read_image, read_voc_image])
def test_photographs_of_more_than_8_bits_are_refused(tmp_path, dtype, read):
    path = tmp_path / "photo.tif"
    Image.fromarray(PICTURE[..., 0].astype(dtype) * 100).save(path)
    with pytest.raises(DataError, match="more than 8 bits"):
        read(path)


def test_a_turned_photograph_and_one_of_several_are_said(tmp_path, caplog):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PICTURE).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(PICTURE).save(tmp_path / "pages.tif", save_all=True, append_images=[Image.fromarray(PICTURE)])
    for name, said in (("turned.png", "orientation 6"), ("pages.tif", "several pictures")):
        caplog.clear()
        np.testing.assert_array_equal(read_image(tmp_path / name), PICTURE.transpose(2, 0, 1))
        assert said in caplog.text


def test_masks_of_colours_with_alpha_are_read_by_the_checkpoints_values(tmp_path):
    values = ((0, 0, 0, 255), (255, 0, 0, 255))
    write_mask(tmp_path / "mask.png", TRUTH, values)
    np.testing.assert_array_equal(read_class_mask(tmp_path / "mask.png", values), TRUTH)


def test_a_photograph_next_to_masks_is_no_mask_of_its_own(tmp_path):
    for name in ("a", "a_mask", "b"):
        Image.fromarray(TRUTH * np.uint8(255)).save(tmp_path / f"{name}.png")
    with pytest.raises(DataError, match=r"1 of 2 photographs have no mask.*b_mask"):
        find_carvana_cases(tmp_path)


def test_files_that_are_no_pictures_are_said_and_a_class_mask_as_jpeg_is_refused(tmp_path):
    (tmp_path / "imgs").mkdir()
    Image.fromarray(PICTURE).save(tmp_path / "imgs" / "a.jpg")
    (tmp_path / "imgs" / "b.heic").write_bytes(b"x")
    assert any("b.heic" in line for line in say_layout(tmp_path))
    with pytest.raises(DataError, match="stored as JPEG"):
        read_class_mask(tmp_path / "imgs" / "a.jpg", (0, 1, 2))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_damaged_byte_of_a_picture_ends_in_another_error(tmp_path):
    path = tmp_path / "damaged.tif"
    Image.fromarray(PICTURE).save(path)
    content = path.read_bytes()
    for place, bit in itertools.product(range(60, 90), range(8)):  # within the tags
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        with contextlib.suppress(DataError):
            read_image(path)
