"""The generated BraTS cases: reproducible, in the data set's layout, and not solved by a threshold."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from helpers.demo import brats
from helpers.demo.brain import SIZE_ZYX, Anatomy, bend_anatomy
from helpers.demo.brats import grow_tumour
from helpers.demo.shapes import smooth_field
from helpers.errors import DataError

HELD_OUT_SEED = 9001


@pytest.fixture(scope="module")
def case() -> brats.DemoCase:
    return brats.generate_case(HELD_OUT_SEED)


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    """The brain of the case, before anything is painted."""
    return bend_anatomy(np.random.Generator(np.random.PCG64(HELD_OUT_SEED)).spawn(4)[0])


@pytest.fixture(scope="module")
def written(tmp_path_factory, case):
    root = tmp_path_factory.mktemp("brats")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brats, "generate_case", lambda seed: case)
        names = brats.write_demo_cases(root, [HELD_OUT_SEED])
    return root, names


def test_the_same_seed_gives_the_same_bytes(case):
    again = brats.generate_case(HELD_OUT_SEED)
    assert again.images.tobytes() == case.images.tobytes()
    assert again.labels.tobytes() == case.labels.tobytes()


def test_another_seed_gives_another_brain_and_tumour(case):
    shape = np.random.Generator(np.random.PCG64(HELD_OUT_SEED + 1)).spawn(4)[0]
    anatomy = bend_anatomy(shape)
    labels = grow_tumour(anatomy, shape).labels
    assert not np.array_equal(anatomy.brain, case.images[0] != 0)
    both = (labels != 0) & (case.labels != 0)
    assert both.sum() < 0.9 * (case.labels != 0).sum()


def test_types_and_shapes(case):
    assert case.images.shape == (4, *SIZE_ZYX) and case.images.dtype == np.int16
    assert case.labels.shape == SIZE_ZYX and case.labels.dtype == np.uint8
    assert set(np.unique(case.labels)) == {0, 1, 2, 4}
    assert case.spacing_mm == (1.0, 1.0, 1.0)


def test_every_modality_is_zero_outside_the_brain_and_nowhere_inside(case):
    brain = case.images[0] != 0
    for image in case.images:
        assert np.array_equal(image != 0, brain)
    assert case.images.min() == 0
    assert ndimage.binary_fill_holes(brain).sum() == brain.sum()
    assert brain[case.labels != 0].all()
    # An adult's brain with its fluid holds 1.1 to 2.1 litres, and fits the grid.
    assert 1.1e6 < brain.sum() < 2.1e6
    for axis in range(3):
        edges = np.take(brain, [0, -1], axis=axis)
        assert edges.mean() < 0.02


def test_labels_are_nested_as_in_a_glioma(case):
    labels = case.labels
    core = np.isin(labels, (1, 4))
    whole = labels != 0
    assert 15_000 < whole.sum() < 250_000
    assert core.sum() > 3_000
    # The rim encloses the necrosis, but for the gaps that real rims have.
    shell = ndimage.binary_dilation(labels == 1) & (labels != 1)
    assert (labels[shell] == 4).mean() > 0.7
    around_core = ndimage.binary_dilation(core, iterations=2) & ~core & (case.images[0] != 0)
    assert (labels[around_core] == 2).mean() > 0.5
    assert ndimage.label(whole)[1] <= 2


def test_contrasts_have_the_order_of_their_sequences(case, anatomy):
    healthy = ndimage.binary_dilation(case.labels != 0, iterations=5) == 0
    mean = {}
    for tissue in ("wm", "gm", "csf"):
        pure = (getattr(anatomy, tissue) > 0.95) & healthy & (anatomy.depth_mm > 4)
        mean[tissue] = np.median(case.images[:, pure], axis=1)
    t1, _, t2, flair = range(4)
    assert mean["wm"][t1] > mean["gm"][t1] > mean["csf"][t1]
    assert mean["csf"][t2] > mean["gm"][t2] > mean["wm"][t2]
    assert mean["gm"][flair] > mean["wm"][flair] > mean["csf"][flair]
    oedema = np.median(case.images[:, case.labels == 2], axis=1)
    rim = np.median(case.images[:, case.labels == 4], axis=1)
    assert oedema[flair] > 1.15 * mean["gm"][flair]
    assert rim[1] > 1.3 * oedema[1]


def test_fractions_sum_to_one_in_the_brain(anatomy):
    total = anatomy.gm + anatomy.wm + anatomy.csf
    np.testing.assert_allclose(total[anatomy.brain], 1, atol=1e-5)
    assert not total[~anatomy.brain].any()


def test_smooth_field_has_unit_spread_and_is_smooth():
    field = smooth_field(np.random.default_rng(0), (60, 70, 80), 5.0)
    assert field.shape == (60, 70, 80) and field.dtype == np.float32
    assert field.std() == pytest.approx(1, abs=0.15)
    assert np.abs(np.diff(field, axis=0)).mean() < 0.3


def test_layout_names_and_geometry(written, case):
    root, names = written
    assert names == ["Demo_09001"]
    folder = root / "MICCAI_BraTS_2018_Data_Training" / "HGG" / "Demo_09001"
    kinds = ("t1", "t1ce", "t2", "flair", "seg")
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"Demo_09001_{kind}.nii.gz" for kind in kinds)
    for kind, array in zip(kinds, (*case.images, case.labels), strict=True):
        image = sitk.ReadImage(str(folder / f"Demo_09001_{kind}.nii.gz"))
        assert np.array_equal(sitk.GetArrayFromImage(image), array)
        assert image.GetSpacing() == (1, 1, 1)
        assert image.GetOrigin() == (0, -239, 0)
        assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert sum(p.stat().st_size for p in folder.iterdir()) < 12e6


def test_a_complete_case_is_kept_and_an_incomplete_one_rewritten(written, case, monkeypatch):
    root, names = written
    folder = root / brats.GROUP / names[0]
    made = []
    monkeypatch.setattr(brats, "generate_case", lambda seed: made.append(seed) or case)
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert brats.write_demo_cases(root, [HELD_OUT_SEED]) == names
    assert made == []
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    (folder / "Demo_09001_t2.nii.gz").unlink()
    brats.write_demo_cases(root, [HELD_OUT_SEED])
    assert made == [HELD_OUT_SEED]
    assert (folder / "Demo_09001_t2.nii.gz").is_file()


def test_a_failure_does_not_leave_half_a_case(tmp_path, case, monkeypatch):
    written = []

    def fail_at_the_third(path, volume):
        written.append(path)
        if len(written) == 3:
            raise DataError("cannot write", received="disk full")
        path.write_bytes(b"x")

    monkeypatch.setattr(brats, "generate_case", lambda seed: case)
    monkeypatch.setattr(brats, "write_volume", fail_at_the_third)
    with pytest.raises(DataError, match="disk full"):
        brats.write_demo_cases(tmp_path, [1])
    assert list((tmp_path / brats.GROUP).iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == [brats.GROUP.parts[0]]


def test_no_single_threshold_finds_the_tumour(case):
    images, labels = case.images[:, ::2, ::2, ::2].astype(np.float32), case.labels[::2, ::2, ::2]
    brain = images[0] != 0
    standard = [(image - image.mean()) / image.std() for image in images]
    for classes, limit in (((1, 2, 4), 0.68), ((1, 4), 0.58), ((4,), 0.53)):
        truth = np.isin(labels[brain], classes)
        for values in (*standard, standard[1] - standard[0]):
            order = np.argsort(values[brain])
            for hits in (truth[order].cumsum(), truth[order[::-1]].cumsum()):
                dice = 2 * hits / (np.arange(1, truth.size + 1) + truth.sum())
                assert dice.max() <= limit
