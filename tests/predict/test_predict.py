"""`cookbook predict`: the notebook's masks, without torch once the model is proven, and with every change noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.data.formats.dicom import find_slices
from helpers.data.formats.dicom_seg import read_seg
from helpers.data.volume import Volume, read_volume, write_volume
from tests.data.dicom_files import write_on_grid

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "IPython", "papermill", "matplotlib", "onnxruntime")


def overwrite_in_place(path: Path, content: bytes) -> None:
    """New bytes under the old time stamp."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.nii.gz"))}


@pytest.fixture(scope="module")
def first(place) -> Path:
    """The masks of the first call, which proves the model."""
    assert place.predict(place.images, place.root / "first") == 0
    return place.root / "first"


def test_the_masks_are_those_of_the_notebook(place, first):
    assert contents(first) == contents(place.notebook_masks)
    assert len(contents(first)) == 2


def test_a_proven_model_is_opened_without_torch(place, first, tmp_path):
    program = (
        "import sys; from helpers import cli; code = cli.main(sys.argv[1:]);"
        f"print(code, sorted(name for name in {HEAVY} if name in sys.modules))"
    )
    words = ["predict", str(place.model), str(place.images), str(tmp_path), "-p", "outputs", str(place.outputs)]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr
    assert "Export" not in done.stderr
    assert contents(tmp_path) == contents(first)


def test_an_unchanged_mask_is_kept_and_an_image_changed_under_its_old_time_stamp_is_noticed(
    place, first, tmp_path, capsys
):
    source, output = tmp_path / "images", tmp_path / "masks"
    source.mkdir()
    for file in place.images.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    assert place.predict(source, output) == 0
    before = contents(output)
    changed, _ = sorted(source.iterdir())
    volume = read_volume(changed)
    write_volume(tmp_path / "other.nii.gz", Volume(np.flip(volume.array, 2).copy(), volume.geometry))
    overwrite_in_place(changed, (tmp_path / "other.nii.gz").read_bytes())
    capsys.readouterr()
    assert place.predict(source, output) == 0
    said = capsys.readouterr()
    assert said.out.startswith("1 mask, 1 unchanged") and "unchanged" in said.err.splitlines()[-1]
    after = contents(output)
    assert [name for name in after if after[name] != before[name]] == [sorted(after)[0]]


def test_a_mask_that_was_changed_is_made_again(place, first, tmp_path):
    assert place.predict(place.images, tmp_path) == 0
    mask = sorted(tmp_path.glob("*.nii.gz"))[0]
    overwrite_in_place(mask, b"not a mask")
    assert place.predict(place.images, tmp_path) == 0
    assert contents(tmp_path) == contents(first)


@pytest.mark.parametrize(("policy", "made"), [("continue", 1), ("stop", 0)])
def test_a_case_that_fails(place, first, tmp_path, capsys, policy, made):
    source, output = tmp_path / "images", tmp_path / "masks"
    source.mkdir()
    broken, whole = sorted(place.images.iterdir())
    (source / broken.name).write_bytes(broken.read_bytes()[:500])
    (source / whole.name).write_bytes(whole.read_bytes())
    assert place.predict(source, output, "--on-error", policy) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and broken.name in said
    assert len(contents(output)) == made
    record = json.loads((output / "predict.json").read_text(encoding="utf-8"))
    assert len(record["failed"]) == 1 and len(record["cases"]) == made
    assert sorted(path.name for path in output.iterdir() if path.name.startswith(".")) == []


def test_a_list_a_table_and_one_file_name_cases(place, first, tmp_path):
    names = [str(path) for path in sorted(place.images.iterdir())]
    (tmp_path / "list.txt").write_text("# cases\n" + "\n".join(names), encoding="utf-8")
    (tmp_path / "list.csv").write_text(
        "id,image\n" + "\n".join(f"{index},{name}" for index, name in enumerate(names)), encoding="utf-8"
    )
    (tmp_path / "list.json").write_text(json.dumps([{"image": names[0]}, names[1]]), encoding="utf-8")
    for source in ("list.txt", "list.csv", "list.json"):
        assert place.predict(tmp_path / source, tmp_path / source[-3:]) == 0
        assert contents(tmp_path / source[-3:]) == contents(first)
    assert place.predict(Path(names[0]), tmp_path / "one") == 0
    assert list(contents(tmp_path / "one")) == [sorted(contents(first))[0]]


def test_a_list_with_a_missing_file_or_one_name_twice_is_refused(place, tmp_path, capsys):
    (tmp_path / "missing.txt").write_text("nowhere.nii.gz\n", encoding="utf-8")
    assert place.predict(tmp_path / "missing.txt", tmp_path / "out") == 1
    (tmp_path / "a").mkdir()
    image = sorted(place.images.iterdir())[0]
    os.link(image, tmp_path / "a" / image.name)
    (tmp_path / "twice.txt").write_text(f"{image}\na/{image.name}\n", encoding="utf-8")
    assert place.predict(tmp_path / "twice.txt", tmp_path / "out") == 1
    missing, twice = capsys.readouterr().err.splitlines()
    assert "does not exist" in missing and "names two files" in twice
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--precision", "int8"), "calibrated with the cases of a run"),
        (("--precision", "f64"), "precision"),
        (("--devices", "0"), "no numbered devices"),
        (("-p", "data_root", "elsewhere"), "INPUT is the data"),
    ],
)
def test_an_invalid_option_is_refused_before_anything_is_written(place, tmp_path, capsys, options, said):
    assert place.predict(place.images, tmp_path / "out", *options) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_masks_are_not_written_among_the_images(place, capsys):
    assert place.predict(place.images, place.images) == 2
    assert "OUTPUT is INPUT" in capsys.readouterr().err


def test_one_volume_is_one_mask_and_keeping_probabilities_proves_nothing_again(place, first, tmp_path, capsys):
    capsys.readouterr()
    assert place.predict(sorted(place.images.iterdir())[0], tmp_path, "--save-probabilities") == 0
    said = capsys.readouterr()
    assert said.out.startswith("1 mask: ") and "Export" not in said.err
    assert len(list(tmp_path.glob("*.npz"))) == 1
    assert next(iter(contents(tmp_path).items())) in contents(first).items()


def test_a_dicom_seg_lies_next_to_its_mask_and_the_model_is_not_proven_again(place, first, tmp_path, capsys):
    wanted, output = ("-p", "mask_format", "dicom-seg"), tmp_path / "masks"
    assert place.predict(place.images, output, *wanted) == 1
    assert "is not a DICOM series" in capsys.readouterr().err and not output.exists()
    volume = read_volume(min(place.images.iterdir()))
    write_on_grid(tmp_path / "dicom" / "p", np.rint(volume.array[0]).astype(np.int16), volume.geometry)
    assert place.predict(tmp_path / "dicom", output, *wanted) == 0
    assert "Export" not in capsys.readouterr().err
    assert {path.name for path in output.iterdir()} == {"p.dcm", "p.nii.gz", "predict.json"}
    slices, grid = find_slices(tmp_path / "dicom" / "p")
    seg = read_seg(output / "p.dcm", grid, {item.uid: index for index, item in enumerate(slices)})
    assert np.array_equal(seg, read_volume(output / "p.nii.gz").array[0]) and seg.any()
    assert place.predict(tmp_path / "dicom", output, *wanted) == 0
    assert "unchanged" in capsys.readouterr().err
