"""Masks of several cases at once are those of one after the other; what fails is said and stops no other case."""

from __future__ import annotations

import json
import shutil
import threading
import time

import pytest

from helpers import stages
from helpers.devices.base import DeviceFault
from helpers.errors import DataError, GateError
from helpers.run.digest import digest_file
from helpers.run.in_flight import InFlight

_SEEDS = [1, 2, 3, 4, 5, 6]


@pytest.fixture(scope="module")
def proven(run_pipeline, tmp_path_factory):
    """An outputs folder in which the model is compiled and no mask is made."""
    folder = tmp_path_factory.mktemp("proven")
    run_pipeline(folder, until="compile", demo_seeds=_SEEDS)
    return folder


@pytest.fixture
def compiled(run_pipeline, proven, tmp_path):
    """A run on six cases whose model is compiled, with the given parameters, in an outputs folder of its own."""

    def start(name: str, **given):
        shutil.copytree(proven, tmp_path / name)
        return run_pipeline(tmp_path / name, until="compile", demo_seeds=_SEEDS, **given)

    return start


def _masks(run) -> dict[str, str]:
    return {path.name: digest_file(path) for path in sorted(run.path("masks").iterdir())}


def test_masks_and_records_equal_those_of_one_after_the_other(compiled, tiny, monkeypatch):
    done = {count: compiled(str(count), cases_in_flight=count) for count in (1, 4)}
    read, slow = type(tiny.module.RECIPE.cases).read_case, {"case_1": 0.3, "case_4": 0.2}
    threads = set()

    def read_slowly(self, files, params):
        threads.add(threading.current_thread().name)
        time.sleep(slow.get(files.id, 0))
        return read(self, files, params)

    monkeypatch.setattr(type(tiny.module.RECIPE.cases), "read_case", read_slowly)
    results = {count: stages.infer_cases(each.recipe, each.run) for count, each in done.items()}
    assert len(threads) > 2  # the main one, and several at once
    assert _masks(done[1].run) == _masks(done[4].run) and len(_masks(done[1].run)) == 6
    assert [each.stage for each in results[1]] == [each.stage for each in results[4]]
    assert [each.values for each in results[1]] == [each.values for each in results[4]]
    order = {count: [name for name in each.run.results if "infer/" in name] for count, each in done.items()}
    assert order[1] == order[4] == [f"infer/case_{number}" for number in range(1, 7)]
    assert set(results[4][0].timings) == {"read", "open", "infer", "write", "peak_rss_mb"}


@pytest.mark.parametrize("count", [1, 3])
def test_a_bad_case_stops_the_others_and_keeps_those_before_it(compiled, count):
    done = compiled("stop", cases_in_flight=count)
    _damage(done, "case_3")
    with pytest.raises(DataError, match="case_3"):
        stages.infer_cases(done.recipe, done.run)
    assert list(_masks(done.run)) == ["case_1.nii.gz", "case_2.nii.gz"]
    record = json.loads(done.run.path("run.json").read_text(encoding="utf-8"))
    assert record["status"] == "failed" and record["stages"]["infer/case_3"]["status"] == "failed"
    assert "infer/case_4" not in record["stages"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_bad_case_is_named_at_the_end_if_the_others_go_on(compiled, count):
    done = compiled("continue", cases_in_flight=count, on_error="continue")
    _damage(done, "case_2")
    _damage(done, "case_5")
    with pytest.raises(GateError, match=r"2 of 6 cases have no mask.*case_2, case_5; case_2: .*case_2_image"):
        stages.infer_cases(done.recipe, done.run)
    assert list(_masks(done.run)) == [f"case_{number}.nii.gz" for number in (1, 3, 4, 6)]
    record = json.loads(done.run.path("run.json").read_text(encoding="utf-8"))
    assert record["status"] == "failed" and "2 of 6" in record["reason"]
    assert "case_5_image" in record["stages"]["infer/case_5"]["reason"]
    assert record["stages"]["infer/case_6"]["status"] == "made"


def test_a_lost_device_ends_the_work_even_so(compiled, tiny, monkeypatch):
    done, asked = compiled("lost", cases_in_flight=2, on_error="continue"), []

    def lose(self, case, predictor, params, path):
        asked.append(case.id)
        raise DeviceFault("the device is lost", "lost")

    monkeypatch.setattr(type(tiny.module.RECIPE.preparation), "segment_and_save", lose)
    with pytest.raises(DeviceFault):
        stages.infer_cases(done.recipe, done.run)
    assert len(asked) <= 4 and not done.run.path("masks").exists()


def test_an_interrupt_leaves_finished_masks_and_nothing_else(compiled, tiny, monkeypatch):
    done = compiled("interrupted", cases_in_flight=3)
    run, commit = done.run, type(done.run).commit

    def interrupt_at_third(self, begun, **given):
        if begun.stage == "infer/case_3":
            raise KeyboardInterrupt
        return commit(self, begun, **given)

    monkeypatch.setattr(type(run), "commit", interrupt_at_third)
    with pytest.raises(KeyboardInterrupt):
        stages.infer_cases(done.recipe, run)
    assert list(_masks(run)) == ["case_1.nii.gz", "case_2.nii.gz"]
    assert not [path for path in run.folder.parent.parent.rglob(".*-*") if path.name.startswith((".work", ".part"))]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("case")]


def test_the_budget_is_asked_before_a_case_is_read_and_before_it_is_prepared(compiled, tiny, monkeypatch):
    done, asked, held = compiled("budget", cases_in_flight=4), [], []
    recipe = tiny.module.RECIPE
    monkeypatch.setattr("helpers.stages.case_in_flight.available_ram_bytes", lambda: 200 << 20)  # two cases of 65 MiB
    reserve, segment = InFlight.reserve, type(recipe.preparation).segment_and_save

    def note(self, index, n_bytes):
        reserve(self, index, n_bytes)
        asked.append((index, n_bytes))
        assert self.peak_reserved <= self.budget_bytes == 160 << 20

    def slow(self, *arguments):
        held.append(1)
        assert len(held) <= 2
        time.sleep(0.05)
        try:
            return segment(self, *arguments)
        finally:
            held.pop()

    monkeypatch.setattr(InFlight, "reserve", note)
    monkeypatch.setattr(type(recipe.preparation), "segment_and_save", slow)
    stages.infer_cases(done.recipe, done.run)
    assert len(asked) == 12 and all(n_bytes > 0 for _, n_bytes in asked)


def _damage(done, case_id: str) -> None:
    path = next(done.run.folder.parent.parent.glob(f".demo/*/{case_id}_image.nii.gz"))
    path.write_bytes(path.read_bytes()[:200])
