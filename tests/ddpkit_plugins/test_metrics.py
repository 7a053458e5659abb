"""Metrics match counts made by hand, also without any positive sample."""

import math
from typing import NamedTuple

import pytest
import torch

from ddpkit.training.metrics import MetricAdapter
from ddpkit_plugins.metrics.auroc import auc
from ddpkit_plugins.metrics.confusion_matrix import confusion_matrix
from ddpkit_plugins.metrics.mean_ap import mean_average_precision
from ddpkit_plugins.metrics.stat_scores import accuracy, dice, f1, iou, precision, recall, specificity, top_k_accuracy


class Counts(NamedTuple):
    tp: int
    fp: int
    fn: int
    tn: int


FORMULAS = {
    precision: lambda n: n.tp / (n.tp + n.fp),
    recall: lambda n: n.tp / (n.tp + n.fn),
    f1: lambda n: 2 * n.tp / (2 * n.tp + n.fp + n.fn),
    specificity: lambda n: n.tn / (n.tn + n.fp),
    iou: lambda n: n.tp / (n.tp + n.fp + n.fn),
    dice: lambda n: 2 * n.tp / (2 * n.tp + n.fp + n.fn),
}
FOUND = torch.tensor([0, 0, 1, 2, 2, 1, 0, 2, 1, 1, 2, 0])
TRUE = torch.tensor([0, 1, 1, 2, 0, 1, 0, 2, 2, 1, 2, 2])


def counts(found, true, number):
    hit, is_it = found == number, true == number
    return Counts(*(int(each.sum()) for each in (hit & is_it, hit & ~is_it, ~hit & is_it, ~hit & ~is_it)))


def result_of(metric, *batches):
    """The result of batches of predictions and targets."""
    adapter = MetricAdapter(metric)
    for predictions, targets in batches:
        adapter.update(None, predictions, targets)
    return adapter.compute()


def value_of(metric, *batches):
    """The value of batches of predictions and targets."""
    return result_of(metric, *batches).value


def probabilities(found, n_classes):
    """Probabilities whose largest one is the class found."""
    one_hot = torch.nn.functional.one_hot(found, n_classes).movedim(-1, 1)
    return (one_hot + torch.rand(one_hot.shape) * 0.5).softmax(dim=1)


@pytest.mark.parametrize("make", FORMULAS)
def test_binary_metrics_score_the_positive_class(make):
    found, true = FOUND.clamp(max=1), TRUE.clamp(max=1)

    value = value_of(make(2), (probabilities(found, 2), true))
    assert value == pytest.approx(FORMULAS[make](counts(found, true, 1)), rel=1e-12)
    assert value_of(make(1), (probabilities(found, 2), true)) == value


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("make", FORMULAS)
def test_macro_and_micro_averages_match_their_formulas(make, n_classes):
    found, true = FOUND.clamp(max=n_classes - 1), TRUE.clamp(max=n_classes - 1)
    each = [counts(found, true, number) for number in range(n_classes)]
    predictions = probabilities(found, n_classes)

    per_class = [FORMULAS[make](one) for one in each]
    macro = sum(per_class) / n_classes
    micro = FORMULAS[make](Counts(*map(sum, zip(*each, strict=True))))
    assert value_of(make(n_classes, average="macro"), (predictions, true)) == pytest.approx(macro, rel=1e-12)
    assert value_of(make(n_classes, average="micro"), (predictions, true)) == pytest.approx(micro, rel=1e-12)
    assert result_of(make(n_classes), (predictions, true)).per_class == pytest.approx(per_class, rel=1e-12)
    if n_classes > 2:
        assert value_of(make(n_classes), (predictions, true)) == pytest.approx(macro, rel=1e-12)


OF_CLASSES = [accuracy, auc, confusion_matrix, *FORMULAS]


@pytest.mark.parametrize("make", OF_CLASSES)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 1, 2, 3)])
def test_mask_pixels_count_like_samples(make, n_classes, shape):
    found, true = FOUND.clamp(max=n_classes - 1), TRUE.clamp(max=n_classes - 1)
    flat = probabilities(found, n_classes)
    maps = flat.reshape(2, 2, 3, n_classes).movedim(-1, 1)

    assert value_of(make(n_classes), (maps, true.reshape(shape).byte())) == value_of(make(n_classes), (flat, true))


@pytest.mark.parametrize("make", OF_CLASSES)
def test_ignored_targets_do_not_count(make):
    predictions, true = probabilities(FOUND, 3), TRUE.clone()
    true[[0, 5]] = 255
    kept = true != 255

    score, of_kept = (
        result_of(make(3, ignore_index=255), (predictions, true.byte())),
        result_of(make(3), (predictions[kept], true[kept])),
    )
    assert score == of_kept


def ordered_pair_fraction(scores, positive):
    """The fraction of (positive, negative) pairs in which the positive scores higher; a tie counts one half."""
    difference = scores[positive][:, None] - scores[~positive][None]
    return ((difference > 0).double() + (difference == 0).double() / 2).mean().item()


def test_auc_is_the_fraction_of_ordered_pairs():
    two = torch.rand(12, dtype=torch.float64).round(decimals=1)
    three = torch.rand(12, 3).softmax(dim=1)

    binary = value_of(auc(2), (torch.stack([1 - two, two], dim=1), TRUE.clamp(max=1)))
    assert binary == pytest.approx(ordered_pair_fraction(two, TRUE > 0), rel=1e-12)
    wanted = [ordered_pair_fraction(three[:, number], number == TRUE) for number in range(3)]
    assert value_of(auc(3), (three, TRUE)) == pytest.approx(sum(wanted) / 3, rel=1e-12)
    assert result_of(auc(3), (three, TRUE)).per_class == pytest.approx(wanted, rel=1e-12)
    assert value_of(auc(3, thresholds=1000), (three, TRUE)) == pytest.approx(sum(wanted) / 3, abs=0.02)


@pytest.mark.parametrize("thresholds", [None, 5])
def test_a_constant_prediction_has_an_auc_of_one_half(thresholds):
    """And AUC uses the scores, not only the most probable class."""
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4])

    assert value_of(auc(2, thresholds), (torch.full((12, 2), 0.5), TRUE.clamp(max=1))) == 0.5
    assert value_of(auc(2, thresholds), (torch.stack([1 - scores, scores], dim=1), torch.tensor([0, 0, 1, 1]))) == 1.0


@pytest.mark.parametrize("make", OF_CLASSES)
def test_a_metric_resets_after_compute(make):
    measure, predictions = MetricAdapter(make(3)), probabilities(FOUND, 3)
    for each in (probabilities(TRUE, 3), predictions):
        measure.update(None, each, TRUE)
        value = measure.compute().value

    assert 0 < value < 1
    assert value == value_of(make(3), (predictions, TRUE))


@pytest.mark.parametrize("make", OF_CLASSES)
def test_batches_accumulate_into_one_state(make):
    predictions = probabilities(FOUND, 3)

    in_batches = value_of(make(3), *((predictions[part], TRUE[part]) for part in (slice(1), slice(1, 4), slice(4, 12))))
    assert in_batches == value_of(make(3), (predictions, TRUE))


@pytest.mark.parametrize("make", [precision, recall, f1, iou, dice, specificity])
def test_no_positives_and_no_predictions_score_one(make):
    nothing, all_ = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)

    assert value_of(make(2), (probabilities(nothing, 2), nothing)) == 1.0
    assert value_of(make(2), (probabilities(all_, 2), all_)) == 1.0
    assert value_of(make(2), (probabilities(all_, 2), nothing)) == 0.0
    assert value_of(make(2), (probabilities(nothing, 2), all_)) == 0.0


@pytest.mark.parametrize("make", [precision, recall, f1, iou, dice, specificity])
def test_an_absent_class_is_excluded_from_the_mean(make):
    score = result_of(make(4), (probabilities(FOUND, 4), TRUE))

    assert score.value == pytest.approx(value_of(make(3), (probabilities(FOUND, 3), TRUE)), rel=1e-12)
    assert math.isnan(score.per_class[3])
    assert not any(map(math.isnan, score.per_class[:3]))


def test_a_predicted_absent_class_scores_zero():
    score = result_of(precision(3), (probabilities(torch.tensor([0, 1, 2, 1]), 3), torch.tensor([0, 1, 1, 1])))

    assert score.per_class == [1, 1, 0]
    assert score.value == pytest.approx(2 / 3)


def test_an_ignored_class_is_excluded_from_the_mean():
    score = result_of(f1(3, ignore_index=0), (probabilities(torch.tensor([0, 1, 2, 2]), 3), torch.tensor([0, 1, 2, 1])))

    assert score.per_class[1:] == pytest.approx([2 / 3, 2 / 3])
    assert score.value == pytest.approx(2 / 3)


@pytest.mark.filterwarnings("ignore:auc")
def test_an_undefined_auc_is_nan_and_excluded_from_the_mean():
    nothing = torch.zeros(4, dtype=torch.long)

    assert math.isnan(value_of(auc(2), (probabilities(nothing, 2), nothing)))
    assert value_of(auc(4), (probabilities(TRUE, 4), TRUE)) == 1.0


def test_auc_distinguishes_scores_in_float64():
    scores = torch.tensor([0.5, 0.5 + 1e-12], dtype=torch.float64)

    assert value_of(auc(2), (torch.stack([1 - scores, scores], dim=1), torch.tensor([0, 1]))) == 1.0


def test_an_undefined_auc_gives_a_warning():
    with pytest.warns(UserWarning, match="auc: a class has no samples"):
        value_of(auc(4), (probabilities(TRUE, 4), TRUE))


def test_top_k_accuracy_counts_the_k_best_scores():
    scores = torch.tensor([[0.2, 0.1, 0.4, 0.3]]).repeat(4, 1)

    assert [value_of(top_k_accuracy(4, k), (scores, torch.arange(4))) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert result_of(top_k_accuracy(4, 2), (scores, torch.arange(4))).per_class == [0, 0, 1, 1]


def test_a_confusion_matrix_has_one_row_per_true_class():
    score = result_of(confusion_matrix(3), (probabilities(torch.tensor([0, 2, 2, 1]), 3), torch.tensor([0, 1, 1, 2])))

    assert score.confusion == [[1, 0, 0], [0, 0, 2], [0, 1, 0]]
    assert score.value == 0.25


LABELS = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0], [1, 0, 0]])
GUESSED = torch.tensor([[0.9, 0.2, 0.4], [0.6, 0.1, 0.8], [0.7, 0.9, 0.3], [0.2, 0.4, 0.1], [0.4, 0.3, 0.2]])


@pytest.mark.parametrize("make", FORMULAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8, torch.bool])
def test_each_label_is_scored_separately(make, dtype):
    each = [counts(GUESSED[:, number] > 0.5, LABELS[:, number] > 0, 1) for number in range(3)]
    score = result_of(make(3), (GUESSED, LABELS.to(dtype)))

    assert score.per_class == pytest.approx([FORMULAS[make](one) for one in each], rel=1e-12)
    assert score.value == pytest.approx(sum(score.per_class) / 3, rel=1e-12)


def test_multilabel_accuracy_is_the_fraction_of_correct_labels():
    assert value_of(accuracy(3), (GUESSED, LABELS)) == pytest.approx(11 / 15)


def test_two_labels_are_not_treated_as_binary_classes():
    two = result_of(precision(2), (GUESSED[:, :2], LABELS[:, :2]))

    assert two.per_class == pytest.approx([2 / 3, 1])
    assert two.value == pytest.approx(5 / 6)


def test_ignored_labels_do_not_count():
    labels = LABELS.clone()
    labels[0, 2] = labels[2, 1] = -1

    assert result_of(recall(3, ignore_index=-1), (GUESSED, labels)).per_class == pytest.approx([2 / 3, 0, 1])
    assert result_of(auc(3, ignore_index=-1), (GUESSED, labels)).per_class[2] == 1.0


def boxes(*corners, labels=None, scores=None):
    """The boxes of an image in the format of torchvision."""
    found = {"boxes": torch.tensor(corners).reshape(-1, 4).float(), "labels": torch.tensor(labels or [1] * len(corners)).long()}
    return found | ({"scores": torch.tensor(scores).float()} if scores is not None else {})


BOX, FAR = (10, 10, 30, 30), (50, 50, 90, 80)


def test_map_of_four_detected_boxes_out_of_five():
    places = [(x, 10, x + 15, 30) for x in range(0, 100, 20)]
    found, true = boxes(*places[:4], scores=[0.9, 0.8, 0.7, 0.6]), boxes(*places)

    score = result_of(mean_average_precision(3), ([found], [true]))
    assert score.value == pytest.approx(81 / 101, rel=1e-6)  # recalls 0, 0.01, ..., 0.8 of the 101
    assert score.per_class[0] == score.value
    assert [math.isnan(each) for each in score.per_class] == [False, True, True]


def test_a_target_box_of_the_background_is_rejected():
    with pytest.raises(ValueError, match="labels of boxes must be at least 1"):
        value_of(mean_average_precision(3), ([boxes(scores=[])], [boxes(BOX, labels=[0])]))


def test_the_iou_threshold_of_map_can_be_set():
    found, true = boxes((10, 10, 30, 26), scores=[0.9]), boxes(BOX)  # 0.8 of the union

    assert [value_of(mean_average_precision(2, at), ([found], [true])) for at in (0.75, 0.85)] == [1.0, 0.0]
    assert value_of(mean_average_precision(2), ([found], [true])) == pytest.approx(0.7)


def test_map_does_not_depend_on_the_image_order():
    right, wrong = (boxes(BOX, scores=[0.5]), boxes(BOX)), (boxes(FAR, scores=[0.5]), boxes(BOX))

    first, second = (
        value_of(mean_average_precision(2), *(([found], [true]) for found, true in order))
        for order in ((right, wrong), (wrong, right))
    )
    assert first == second


def test_map_without_any_box_is_nan():
    score = result_of(mean_average_precision(2), ([boxes(scores=[])], [boxes()]))

    assert math.isnan(score.value)
    assert len(score.per_class) == 2


@pytest.mark.parametrize(
    ("predictions", "targets"),
    [
        (torch.rand(4, 3), torch.tensor([0, 1, 2, 3])),
        (torch.rand(1, 3, 2, 2), torch.tensor([[[0, 0], [255, 255]]])),
        (torch.rand(4, 2), torch.tensor([0, 1, 1, 0])),
        (torch.rand(4, 1), torch.tensor([0, 1, 1, 0])),
        (torch.rand(4, 3), torch.rand(4)),
        (torch.rand(4, 3), torch.full((4, 3), 0.5)),
        (torch.rand(4, 3), torch.full((4, 3), 255)),
        (torch.rand(4, 3), torch.zeros(4, 2, dtype=torch.long)),
        (torch.rand(4), torch.tensor([0, 1, 1, 0])),
    ],
)
def test_mismatched_predictions_and_targets_are_rejected(predictions, targets):
    with pytest.raises(ValueError, match="got"):
        precision(3).update(predictions, targets)


@pytest.mark.parametrize("make", [confusion_matrix, lambda n: top_k_accuracy(n, k=2)])
def test_single_label_metrics_reject_multilabel_targets(make):
    with pytest.raises(ValueError, match="requires one class per sample; got multi-label targets"):
        make(3).update(GUESSED, LABELS)


REFUSED = [
    (top_k_accuracy, {"k": 4}),
    (top_k_accuracy, {"k": 0}),
    (auc, {"thresholds": 1}),
    (mean_average_precision, {"threshold": 0.0}),
]


@pytest.mark.parametrize(("make", "params"), REFUSED)
def test_invalid_parameters_are_rejected(make, params):
    with pytest.raises(ValueError, match="got"):
        make(3, **params)
