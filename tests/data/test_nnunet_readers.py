"""Images are seen, and masks written, as nnU-Net v2's own readers do: order of axes, spacing, format and grid."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform
from PIL import Image

from helpers.data.case import CaseFiles
from helpers.data.nnunet.cases import read_case
from helpers.data.nnunet.readers import (
    PICTURES,
    READERS,
    STACKS,
    check_reader,
    mask_suffix,
    read_image,
    read_mask,
    sight_of_case,
    write_mask,
)
from helpers.errors import DataError

registry = pytest.importorskip("nnunetv2.imageio.reader_writer_registry")
VOLUMES = [reader for reader in READERS if reader not in (PICTURES, STACKS)]
OBLIQUE = np.array([[0.87, -0.5, 0], [0.5, 0.87, 0], [0, 0, 1.0]])


def theirs(reader):
    """nnU-Net's own reader."""
    return registry.recursive_find_reader_writer_by_name(reader)()


def put_volume(path, orientation, is_oblique=False):
    """A volume of noise with sides and spacings that differ, turned to an orientation."""
    array = np.random.default_rng(3).integers(-900, 900, (6, 7, 5)).astype(np.int16)
    affine = np.diag([1.5, 0.75, 3.0, 1.0])
    affine[:3, :3] = (OBLIQUE / np.linalg.norm(OBLIQUE, axis=0) if is_oblique else np.eye(3)) @ affine[:3, :3]
    affine[:3, 3] = (-12.0, 30.0, 7.0)
    image = nibabel.Nifti1Image(array, affine)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    nibabel.save(image.as_reoriented(turn), path)


def seen(path, reader):
    """The case that is read, and its image and spacing as the plan's preparation sees them."""
    case = read_case(CaseFiles(path.name.split("_0000")[0], {"0000": path}), reader)
    sight = sight_of_case(case)
    return case, sight.turn.apply(case.image), sight.spacing_mm


@pytest.mark.parametrize("is_oblique", [False, True])
@pytest.mark.parametrize("orientation", ["RAS", "LPS", "LAS", "PIR", "SRA"])
@pytest.mark.parametrize("reader", VOLUMES)
def test_volumes_are_turned_and_masks_turned_back(reader, orientation, is_oblique, tmp_path):
    path = tmp_path / "case_0000.nii.gz"
    put_volume(path, orientation, is_oblique)
    expected, properties = theirs(reader).read_images([str(path)])
    case, image, spacing = seen(path, reader)
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_allclose(spacing, properties["spacing"], rtol=1e-6)
    turned = (expected[0] > 100).astype(np.uint8)
    theirs(reader).write_seg(turned, str(tmp_path / "theirs.nii.gz"), properties)
    write_mask(tmp_path / "ours.nii.gz", sight_of_case(case).turn.undo(turned), case)
    masks = [nibabel.load(tmp_path / f"{name}.nii.gz") for name in ("ours", "theirs")]
    np.testing.assert_array_equal(*(np.asarray(mask.dataobj) for mask in masks))
    np.testing.assert_allclose(*(mask.affine for mask in masks), atol=1e-4)
    np.testing.assert_array_equal(read_mask(tmp_path / "theirs.nii.gz", case), sight_of_case(case).turn.undo(turned))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16"])
def test_pictures_have_the_channels_that_nnunet_reads(mode, suffix, tmp_path):
    if (mode, suffix) in {("RGBA", ".bmp"), ("I;16", ".bmp"), ("P", ".tif"), ("1", ".tif")}:
        pytest.skip("the format does not have this mode")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 4)).astype(np.uint8)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 250)
    elif mode != "RGBA":
        image = image.convert("RGB").convert(mode)
    path = tmp_path / f"car_0000{suffix}"
    image.save(path)
    expected, properties = theirs(PICTURES).read_images([str(path)])
    case, found, spacing = seen(path, PICTURES)
    np.testing.assert_array_equal(found, expected)
    assert spacing == properties["spacing"] == (999, 1, 1)
    assert case.geometry is not None and not case.geometry.is_patient
    mask = (np.arange(9 * 13).reshape(1, 9, 13) % 3).astype(np.uint8)
    write_mask(tmp_path / f"car{suffix}", mask, case)
    np.testing.assert_array_equal(theirs(PICTURES).read_seg(str(tmp_path / f"car{suffix}"))[0][0], mask)
    np.testing.assert_array_equal(read_mask(tmp_path / f"car{suffix}", case), mask)


def test_what_is_not_a_picture_is_refused(tmp_path):
    Image.fromarray(np.zeros((4, 5, 2), np.uint8), "LA").save(tmp_path / "grey_with_alpha.png")
    with pytest.raises(DataError, match="mode LA"):
        read_image(tmp_path / "grey_with_alpha.png", PICTURES)
    (tmp_path / "torn.tif").write_bytes(b"II*\0 and no more")
    for reader in (PICTURES, STACKS):
        with pytest.raises(DataError, match=r"torn\.tif cannot be read as TIFF"):
            read_image(tmp_path / "torn.tif", reader)


@pytest.mark.parametrize("spacing", [None, [2.5, 0.7, 0.8]])
def test_stacks_of_tiff_slices_have_the_spacing_of_their_json(spacing, tmp_path):
    import tifffile

    path = tmp_path / "cell_0000.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 4000, (5, 6, 7)).astype(np.uint16))
    if spacing:
        (tmp_path / "cell.json").write_text(json.dumps({"spacing": spacing}), encoding="utf-8")
    expected, properties = theirs(STACKS).read_images([str(path)])
    case, found, ours = seen(path, STACKS)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(ours, properties["spacing"])
    (tmp_path / "out").mkdir()
    mask = (found[0] > 2000).astype(np.uint8)
    write_mask(tmp_path / "out" / "cell.tif", mask, case)
    back, about = theirs(STACKS).read_seg(str(tmp_path / "out" / "cell.tif"))
    np.testing.assert_array_equal(back[0], mask)
    np.testing.assert_allclose(about["spacing"], ours)


def test_a_spacing_or_stack_that_cannot_be_is_refused(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "flat.tif", np.zeros((4, 5), np.uint8))
    with pytest.raises(DataError, match="not a stack of slices"):
        read_image(tmp_path / "flat.tif", STACKS)
    tifffile.imwrite(tmp_path / "cell_0000.tif", np.zeros((3, 4, 5), np.uint8))
    for text, message in (('{"spacing": [1, 2]}', "has no spacing"), ('{"spacing": [0, 1, 1]}', "not positive")):
        (tmp_path / "cell.json").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            read_image(tmp_path / "cell_0000.tif", STACKS)


def test_a_label_of_several_channels_is_refused(tmp_path):
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "car.png")
    files = CaseFiles("car", {"0000": tmp_path / "car.png"}, tmp_path / "car.png")
    with pytest.raises(DataError, match=r"car\.png is not a mask: received 3 channels"):
        read_case(files, PICTURES)


def test_other_readers_are_refused_by_name():
    with pytest.raises(DataError, match="received MyOwnIO, expected SimpleITKIO"):
        check_reader("MyOwnIO")


def test_masks_have_the_suffix_of_the_models_images():
    known = {("SimpleITKIO", ".nrrd"): ".nrrd", ("SimpleITKIO", ".gipl"): ".nii.gz", (PICTURES, ".bmp"): ".bmp"}
    assert {key: mask_suffix(*key) for key in known} == known
    assert (mask_suffix(PICTURES, ".nii.gz"), mask_suffix(STACKS, ".tiff")) == (".png", ".tiff")
