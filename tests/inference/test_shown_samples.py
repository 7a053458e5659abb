"""Samples of the test split that a run shows: which ones are chosen, their errors, their pictures."""

import io
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from PIL import Image

from ddpkit.config import loading
from ddpkit.distributed.world import World
from ddpkit.inference.prediction import PredictionDecoder
from ddpkit.inference.prediction_error import prediction_errors
from ddpkit.inference.test_sample_collector import TestSampleCollector, choose_samples
from ddpkit.plugins import manager
from ddpkit.runs.test_samples import TEST_SAMPLES, ShownSample, read_test_samples, write_test_samples
from ddpkit.training import builder
from tests.helpers.configs import BLOBS


def errors(gives, predictions, targets, threshold=0.5):
    decoder = PredictionDecoder(gives=gives, classes=(), threshold=threshold, top_k=1)
    return prediction_errors(decoder, torch.tensor(predictions, dtype=torch.float64), torch.tensor(targets))


def test_the_error_of_a_class_is_the_probability_of_a_wrong_one():
    assert errors("class", [[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.2, 0.3, 0.5]], [1, 2, 5]) == [0, 0.6, None]


def test_the_threshold_chooses_the_second_of_two_classes():
    assert errors("class", [[0.6, 0.4], [0.6, 0.4]], [1, 0], threshold=0.3) == [0, 0.4]


def test_the_error_of_labels_is_that_of_the_most_wrong_one():
    assert errors("labels", [[0.9, 0.2], [0.9, 0.2], [0.4, 0.9]], [[1, 0], [0, 1], [1, 1]]) == [0, 0.9, 0.6]


def test_the_error_of_a_mask_is_the_share_of_wrong_pixels():
    probabilities = [[[[0.9, 0.1], [0.9, 0.9]], [[0.1, 0.9], [0.1, 0.1]]]] * 2
    assert errors("mask", probabilities, [[[0, 1], [1, 0]], [[255, 1], [0, 255]]]) == [0.25, 0]
    assert errors("mask", probabilities, [[[[0, 1], [1, 0]]], [[[255] * 2] * 2]]) == [0.25, None]


@pytest.mark.parametrize(
    ("boxes", "labels", "scores", "expected"),
    [
        ([[0, 0, 10, 10], [50, 50, 60, 60]], [1, 2], [0.9, 0.8], 0),
        ([[0, 0, 10, 10]], [1], [0.9], 1 - 2 / 3),
        ([[0, 0, 10, 10], [50, 50, 60, 60]], [1, 1], [0.9, 0.8], 0.5),
        ([[0, 0, 10, 10], [1, 0, 10, 10]], [1, 1], [0.9, 0.8], 0.5),
        ([[0, 0, 10, 10], [50, 50, 60, 60]], [1, 2], [0.9, 0.1], 1 - 2 / 3),
        ([], [], [], 1),
    ],
    ids=["both", "one missed", "wrong class", "found twice", "below the threshold", "none"],
)
def test_the_error_of_boxes_is_their_lack_of_f1(boxes, labels, scores, expected):
    decoder = PredictionDecoder(gives="boxes", classes=(), threshold=0.5, top_k=1)
    truth = {"boxes": torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]]), "labels": torch.tensor([1, 2])}
    found = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores, dtype=torch.float32),
    }

    assert prediction_errors(decoder, [found], [truth]) == [pytest.approx(expected, abs=1e-6)]


def test_an_error_that_is_not_finite_is_not_known():
    assert errors(None, [[float("inf")], [float("nan")], [2.0]], [[1.0], [1.0], [1.0]]) == [None, None, 1]


def test_a_prediction_of_another_kind_has_an_absolute_error_or_none():
    assert errors(None, [[1.0, 3.0]], [[2.0, 1.0]]) == [1.5]
    assert errors(None, [1.0, 3.0], [2.0, 1.0]) == [1, 2]
    assert errors(None, [[1.0, 3.0]], [1]) == [None]


def test_half_of_the_samples_have_the_largest_errors():
    candidates = [(index % 7 / 10, index) for index in range(50)]

    chosen = choose_samples(candidates, 6, partly_right=True)

    assert chosen == {6: True, 13: True, 20: True, 0: False, 7: False, 14: False}


@pytest.mark.parametrize(("n_wrong", "expected"), [(0, 0), (1, 1), (5, 3), (20, 3)])
def test_too_few_of_one_kind_are_replaced_by_the_other(n_wrong, expected):
    candidates = [(0.5 if index < n_wrong else 0, index) for index in range(20)]

    chosen = choose_samples(candidates, 6, partly_right=True)

    assert len(chosen) == 6
    assert sum(chosen.values()) == expected


def test_no_wrong_class_is_among_the_correct_ones():
    candidates = [(index / 10, index) for index in range(10)]  # one of ten is correct

    assert choose_samples(candidates, 6, partly_right=False) == {9: True, 8: True, 7: True, 6: True, 5: True, 0: False}


def collect(world, file, limit):
    """Return what is shown of a model without training, as plain data."""
    config = loading.load(Path(file), loading.named_overrides({"private.log_images": limit, "test.batch_size": 8}))
    plugins = manager.load()
    config, trainer = builder.build_run(config, plugins.registry, world)
    collector = TestSampleCollector.of(config, plugins.registry, trainer.evaluator.test)
    if collector is None:
        return None
    trainer.evaluator.test_models(lambda _: True, lambda *_: None, collector.observe)
    return [attrs.asdict(each) for each in collector.collect(world)]


@pytest.fixture
def file(acme, tmp_path):
    (tmp_path / "x.toml").write_text(BLOBS.replace("n_test = 7", "n_test = 19") + 'scaler = { compute_type = "float64" }\n')
    return tmp_path / "x.toml"


def test_the_shown_samples_do_not_depend_on_the_number_of_ranks(file, in_world, tmp_path):
    alone = collect(World(), file, 5)

    assert in_world(2, tmp_path, collect, str(file), 5) == [alone, alone]
    assert len(alone) == 5
    assert [each["error"] for each in alone] == sorted((each["error"] for each in alone), reverse=True)
    assert all((each["group"] == "wrong") == (each["error"] > 0) for each in alone)
    with Image.open(io.BytesIO(alone[0]["png"])) as picture:
        assert np.asarray(picture).std() > 0


def test_no_samples_are_collected_if_none_are_wanted(file):
    assert collect(World(), file, 0) is None


def test_a_failure_of_the_pictures_is_a_warning(file, caplog):
    registry = manager.load().registry
    config, trainer = builder.build_run(loading.load(file, ()), registry, World())
    collector = TestSampleCollector.of(config, registry, trainer.evaluator.test)
    collector.decoder = PredictionDecoder(gives="boxes", classes=(), threshold=0.5, top_k=1)

    trainer.evaluator.test_models(lambda _: True, lambda *_: None, collector.observe)

    assert collector.collect(World()) == []
    assert caplog.text.count("the pictures of test samples are left out: ") == 1


def test_samples_with_any_file_name_are_read_back(tmp_path):
    shown = ShownSample(sample="im\udcff\u2028\n猫.png", group="wrong", truth="a\x85b", prediction="c", error=0.5, png=b"")

    write_test_samples(tmp_path, [shown])

    [read] = read_test_samples(tmp_path)
    assert (read.sample, read.truth) == (shown.sample, shown.truth)
    assert "猫" in (tmp_path / TEST_SAMPLES).read_text(encoding="utf-8")
    assert read.caption.encode()
    assert len(read.caption.splitlines()) == 1
