"""Runs of parts, merged, are the run of everything, byte for byte; parts that do not fit together are refused."""

from __future__ import annotations

import json
import shutil

import pytest

from helpers import recipes
from helpers.errors import CookbookError, DataError, ParameterError
from helpers.params.part import Part
from helpers.qa.finished import drop_none
from helpers.run.digest import digest_file
from helpers.stages.parts import check_cover, read_parts, whole_params

_SEEDS, _COUNT = [1, 2, 3, 4, 5], 4
_KEPT = ("masks/*", "metrics.json", "model.onnx")


def _bytes(folder) -> dict[str, str]:
    paths = [path for pattern in _KEPT for path in folder.glob(pattern)]
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in sorted(paths)}


def _merge(run_pipeline, folders, outputs):
    parts = read_parts(folders)
    given = drop_none(whole_params(parts, {"outputs": str(outputs)}))
    check_cover(recipes.load("tiny"), recipes.load("tiny").prepare_params(**given), parts)
    return run_pipeline(**given)


@pytest.fixture(scope="module")
def whole(run_pipeline, tmp_path_factory):
    """One run of ten cases."""
    return run_pipeline(tmp_path_factory.mktemp("whole"), demo_seeds=_SEEDS).run


@pytest.fixture(scope="module")
def parts(run_pipeline, tmp_path_factory):
    """Four runs of one or two cases, in two outputs folders."""
    folders = []
    for number in range(1, _COUNT + 1):
        outputs = tmp_path_factory.getbasetemp() / f"parts{number % 2}"
        folders.append(run_pipeline(outputs, demo_seeds=_SEEDS, part=f"{number}/{_COUNT}").run.folder)
    return folders


@pytest.fixture
def copied(parts, tmp_path):
    """The folders of the parts, copied without their store."""
    return [shutil.copytree(folder, tmp_path / "tiny" / folder.name) for folder in parts]


def test_a_share_is_every_nth_id_in_their_order():
    names = ["b10", "b2", "a", "c", "z", "y", "x"]
    shares = [Part(number, 3).take(names, str) for number in (1, 2, 3)]
    assert shares == [["a", "c", "z"], ["b10", "x"], ["b2", "y"]]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1-3", "1/3/5", "a/b", "1/", "-1/3", "1.0/3", "١/٣"])
def test_a_part_that_is_none_is_refused(tiny, text):
    with pytest.raises(ParameterError, match="part"):
        recipes.load("tiny").prepare_params(part=text)


def test_a_part_without_a_case_is_refused(run_pipeline, tmp_path):
    with pytest.raises(DataError, match="part 3/3 has no case: received 2 cases in all"):
        run_pipeline(tmp_path, until="data", demo_seeds=[1, 2], part="3/3")


def test_parts_merged_equal_one_run(run_pipeline, whole, parts, tmp_path):
    assert [len(list((folder / "masks").iterdir())) for folder in parts] == [2, 1, 1, 1]
    assert {folder.name.partition(".")[0] for folder in parts} == {whole.folder.name}
    merged = _merge(run_pipeline, parts, tmp_path)
    assert merged.run.folder.name == whole.folder.name
    assert {result.status for result in merged.made["infer"]} == {"reused"}
    assert _bytes(merged.run.folder) == _bytes(whole.folder)
    assert len(_bytes(whole.folder)) == 7
    assert (merged.run.folder / "report.html").is_file()


def test_a_data_set_smaller_than_its_count_of_parts_is_complete(run_pipeline, parts):
    outputs = parts[0].parents[1]
    folders = [run_pipeline(outputs, demo_seeds=[1, 2], part=f"{each}/3").run.folder for each in (1, 2)]
    assert len(_merge(run_pipeline, folders, outputs).made["infer"]) == 2


def test_a_missing_part_is_named_with_its_cases(run_pipeline, parts, tmp_path):
    with pytest.raises(DataError, match=r"1 of 4 parts are missing: received no 3/4 \(case_3\)"):
        _merge(run_pipeline, [*parts[:2], *parts[3:]], tmp_path)
    assert list(tmp_path.glob("tiny/*/masks")) == []


def test_a_part_that_is_there_twice_is_refused(parts, copied):
    with pytest.raises(DataError, match="part 2/4 is there twice"):
        read_parts([*parts, copied[1]])
    assert len(read_parts([*parts, parts[1]])) == 4  # the same folder, named twice


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part": ""}, "is no part"),
        ({"part": "2/3"}, "different splits"),
        ({"window": [8, 8, 8]}, r"different parameters: received window \[16, 16, 16\] and \[8, 8, 8\]"),
        ({"checkpoint": "/other"}, "different parameters: received checkpoint"),
    ],
)
def test_a_part_of_something_else_is_refused(copied, change, message):
    record = json.loads((copied[1] / "run.json").read_text(encoding="utf-8"))
    record["params"] |= change
    (copied[1] / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(CookbookError, match=message):
        read_parts(copied)


def test_a_part_that_failed_is_refused(copied):
    record = json.loads((copied[2] / "run.json").read_text(encoding="utf-8"))
    (copied[2] / "run.json").write_text(
        json.dumps({**record, "status": "failed", "reason": "no disk"}), encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"part 3/4 in .* is failed: received no disk"):
        read_parts(copied)


@pytest.mark.parametrize("harm", ["change", "delete"])
def test_a_mask_that_was_changed_is_refused(run_pipeline, copied, tmp_path, harm):
    (mask,) = (copied[3] / "masks").iterdir()
    mask.write_bytes(b"other") if harm == "change" else mask.unlink()
    with pytest.raises(DataError, match=r"of the part 4/4 in .* was changed or deleted"):
        _merge(run_pipeline, copied, tmp_path / "merged")
    assert (
        json.loads(next((tmp_path / "merged").glob("*/*/run.json")).read_text(encoding="utf-8"))["status"] == "failed"
    )


def test_a_mask_of_another_model_or_version_is_not_made_silently(run_pipeline, copied, tmp_path):
    record = next((copied[0] / ".stages" / "infer").iterdir())
    content = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps({**content, "key": "0" * 64}), encoding="utf-8")
    with pytest.raises(DataError, match=r"infer/case_[15] of part 1/4 in .* does not fit this run"):
        _merge(run_pipeline, copied, tmp_path / "merged")


def test_cases_that_were_added_since_are_seen(run_pipeline, parts, tmp_path):
    recipes.load("tiny").cases.write_demo_cases(_folder(tmp_path / "data"), [1, 2, 3, 4])
    given = {"data_root": str(tmp_path / "data"), "source_score": "skip"}
    folders = [run_pipeline(parts[0].parents[1], part=f"{each}/2", **given).run.folder for each in (1, 2)]
    recipes.load("tiny").cases.write_demo_cases(tmp_path / "data", [0])
    with pytest.raises(DataError, match="the data set has changed"):
        _merge(run_pipeline, folders, tmp_path / "merged")


def test_the_parts_determine_the_parameters(parts):
    read = read_parts(parts)
    with pytest.raises(ParameterError, match="the parts determine this parameter: received batch_size"):
        whole_params(read, {"outputs": "x", "batch_size": 2})
    with pytest.raises(ParameterError, match="several outputs folders"):
        whole_params(read, {})


def _folder(path):
    path.mkdir()
    return path
