"""What a notebook's explore cells show: the objects of the run itself, and what a change does to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from helpers import explore
from helpers.errors import DataError, ParameterError
from helpers.explore.objects import round_bits
from helpers.run.digest import digest_path


@pytest.fixture(scope="module")
def case(done):
    return explore.read_case(done.recipe, done.run)


@pytest.fixture(scope="module")
def sample(done, case):
    return explore.prepared_sample(done.recipe, done.run, case)


@pytest.fixture(scope="module")
def graph(done):
    return onnx.load(done.run.path("model.onnx"))


def is_png(shown: explore.pictures.Shown) -> bool:
    return shown._repr_png_().startswith(b"\x89PNG") and len(shown.png) <= 60_000


class TestObjects:
    def test_a_case_is_chosen_by_its_id_and_a_mistyped_one_is_refused(self, done, case):
        assert case.id == "case_1"
        assert explore.read_case(done.recipe, done.run, "case_2").id == "case_2"
        with pytest.raises(DataError, match="Did you mean 'case_2'"):
            explore.read_case(done.recipe, done.run, "case_22")

    def test_a_part_keeps_the_truth_and_its_place(self, case):
        part = explore.around_truth(case, (12, None, 100))
        assert part.image.shape == (1, 12, *case.image.shape[2:])
        assert part.truth.shape == part.geometry.size_zyx == part.image.shape[1:]
        assert np.array_equal(part.truth > 0, part.image[0] > 0.5)

    def test_a_case_without_truth_is_cut_in_the_middle_and_shown_without_scores(self, done, case):
        part = explore.around_truth(replace(case, truth=None), (12, None, 100))
        assert part.truth is None and part.image.shape == (1, 12, *case.image.shape[2:])
        start = (case.image.shape[1] - 12) // 2
        assert np.array_equal(part.image, case.image[:, start : start + 12])
        masks = {"a": np.zeros(part.image.shape[1:], np.uint8), "b": np.ones(part.image.shape[1:], np.uint8)}
        shown = explore.show_masks(done.recipe, done.run, part, masks)
        assert is_png(shown)
        assert shown.values == {"a": {}, "b": {}}

    def test_torch_device_and_graph_agree_and_have_the_classes_first(self, done, sample, graph):
        by = [
            explore.torch_scores(done.recipe, done.run, sample),
            explore.device_scores(done.recipe, done.run, sample),
        ]
        by.append(explore.graph_scores(graph, sample))
        assert {scores.shape for scores in by} == {(2, *sample.shape[1:])}
        assert np.abs(by[0] - by[1]).max() < 1e-4 and np.abs(by[0] - by[2]).max() < 1e-4

    def test_the_masks_with_the_runs_own_settings_are_those_of_the_run(self, done, case):
        (trial,) = explore.segment_with(done.recipe, done.run, case, {"as it is": {}}).values()
        kept = done.recipe.cases.read_mask(done.run.path("masks/case_1.nii.gz"), case)
        assert np.array_equal(trial.mask, kept)
        assert trial.scores["cube"] == pytest.approx(done.made["score"].values["cases"]["case_1"]["cube"], abs=1e-6)

    def test_nothing_of_the_run_changes(self, done, case, sample):
        files = [done.run.path("metrics.json"), done.run.path("masks")]
        before = [digest_path(path) for path in files], done.run.record.content["stages"]
        explore.segment_with(done.recipe, done.run, case, {"no overlap": {"tile_step_size": 1.0}})
        explore.device_scores(done.recipe, done.run, sample)
        assert ([digest_path(path) for path in files], done.run.record.content["stages"]) == before

    @pytest.mark.parametrize(
        ("changes", "telling"),
        [
            ({"tile_step": 0.5}, "Did you mean 'tile_step_size'"),
            ({"tile_step_size": 2.0}, "tile_step_size"),
            ({"window": [32, 32, 32]}, "the compiled model depends on"),
        ],
    )
    def test_a_trial_that_cannot_be_made_is_refused_before_the_device_is_opened(
        self, done, case, changes, telling, monkeypatch
    ):
        monkeypatch.setattr("helpers.explore.objects.open_predictor", lambda *_: pytest.fail("a device was opened"))
        with pytest.raises(ParameterError, match=telling):
            explore.segment_with(done.recipe, done.run, case, {"fine": {}, "other": changes})

    def test_rounding_to_11_bits_is_float16s_where_float16_is_normal(self):
        values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
        assert np.array_equal(round_bits(values, 11), values.astype(np.float16).astype(np.float32))
        assert np.array_equal(round_bits(values, 24), values)

    def test_rounding_a_graph_leaves_the_graph_itself_alone(self, graph):
        before = graph.SerializeToString()
        rounded = explore.round_weights(graph, 4)
        assert graph.SerializeToString() == before
        first = [numpy_helper.to_array(model.graph.initializer[0]) for model in (graph, rounded)]
        assert not np.array_equal(*first) or first[0].dtype != np.float32
        with pytest.raises(ParameterError, match="1 to 24"):
            explore.round_weights(graph, 0)


class TestPictures:
    def test_intensities_have_the_range_of_both(self, case, sample):
        shown = explore.show_intensities(case.image[0], 2 * sample[0])
        assert is_png(shown)
        assert shown.values["prepared"]["high"] == pytest.approx(2 * float(sample.max()))

    def test_a_difference_is_measured_and_its_flips_are_counted(self):
        first = np.zeros((2, 4, 4, 4), np.float32)
        first[1, 1] = 2.0
        second = first.copy()
        second[1, 1, 0, :2] = -1.0
        shown = explore.show_difference(first, second)
        assert is_png(shown) and (shown.values["largest"], shown.values["flips"]) == (1.5, 2)
        assert "2 of 64 labels differ" in repr(shown)
        assert "Nothing to compare" in repr(explore.show_difference(first, second[:, :2]))

    @pytest.mark.parametrize(("scores", "share"), [([[0.0, 5.0], [0.1, -5.0]], 0.5), ([[0.0, 5.0]], 0.5)])
    def test_uncertainty_is_the_lead_of_the_best_probability(self, scores, share):
        shown = explore.show_uncertainty(np.array(scores, np.float32)[:, None], 0.5)
        assert is_png(shown) and shown.values["share"] == share

    def test_thresholds_give_the_dice_of_each(self):
        truth = np.array([[1, 1, 0, 0]])
        shown = explore.show_thresholds(np.array([[0.9, 0.4, 0.6, 0.1]]), truth, [0.5, 0.8, 0.2])
        assert is_png(shown)
        assert shown.values["dice"] == pytest.approx({0.5: 0.5, 0.8: 2 / 3, 0.2: 0.8})

    def test_masks_have_their_scores_and_seconds(self, done, case):
        trials = explore.segment_with(done.recipe, done.run, case, {"one": {}, "two": {"tile_step_size": 1.0}})
        shown = explore.show_masks(done.recipe, done.run, case, {**trials, "empty": np.zeros_like(case.truth)})
        assert is_png(shown) and shown.values["empty"]["cube"] == 0.0 and shown.values["one"]["cube"] > 0.9
        assert "one: cube 1.000" in repr(shown) or "one: cube 0.9" in repr(shown)

    def test_a_case_without_truth_is_explored_too(self, done, case):
        bare = explore.around_truth(replace(case, truth=None), (16, 16, 16))
        assert bare.truth is None and bare.image.shape[1:] == (16, 16, 16)
        assert not explore.truth_or_empty(bare).any()
        trials = explore.segment_with(done.recipe, done.run, bare, {"as it is": {}})
        assert is_png(explore.show_masks(done.recipe, done.run, bare, trials))

    def test_the_replaced_nodes_are_listed_with_their_names(self, done, graph):
        before = onnx.load(done.run.path("graph/simplified.onnx"))
        resized = [node.name for node in before.graph.node if node.op_type == "Resize"]
        shown = repr(explore.show_replaced(before, graph))
        assert "Reshape" in shown and all(name in shown for name in resized)
        assert "none" in repr(explore.show_replaced(graph, graph))
