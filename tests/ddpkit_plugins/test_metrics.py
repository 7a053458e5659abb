"""Metrics against counts made by hand, and what they say of nothing."""

import math
from typing import NamedTuple

import pytest
import torch

from ddpkit.training.metrics import Measure
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


def scored(metric, *batches):
    """The score of batches of predictions and targets."""
    measure = Measure(metric)
    for predictions, targets in batches:
        measure.update(None, predictions, targets)
    return measure.value()


def probabilities(found, n_classes):
    """Of which the class found is the most probable."""
    one_hot = torch.nn.functional.one_hot(found, n_classes).movedim(-1, 1)
    return (one_hot + torch.rand(one_hot.shape) * 0.5).softmax(dim=1)


@pytest.mark.parametrize("make", FORMULAS)
def test_two_classes_mean_the_positive_one(make):
    found, true = FOUND.clamp(max=1), TRUE.clamp(max=1)

    value = scored(make(2), (probabilities(found, 2), true))
    assert value == pytest.approx(FORMULAS[make](counts(found, true, 1)), rel=1e-12)
    assert scored(make(1), (probabilities(found, 2), true)) == value


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("make", FORMULAS)
def test_averages_over_classes_and_over_samples(make, n_classes):
    found, true = FOUND.clamp(max=n_classes - 1), TRUE.clamp(max=n_classes - 1)
    each = [counts(found, true, number) for number in range(n_classes)]
    predictions = probabilities(found, n_classes)

    per_class = [FORMULAS[make](one) for one in each]
    macro = sum(per_class) / n_classes
    micro = FORMULAS[make](Counts(*map(sum, zip(*each, strict=True))))
    assert scored(make(n_classes, average="macro"), (predictions, true)) == pytest.approx(macro, rel=1e-12)
    assert scored(make(n_classes, average="micro"), (predictions, true)) == pytest.approx(micro, rel=1e-12)
    assert scored(make(n_classes), (predictions, true)).per_class == pytest.approx(per_class, rel=1e-12)
    if n_classes > 2:
        assert scored(make(n_classes), (predictions, true)) == pytest.approx(macro, rel=1e-12)


OF_CLASSES = [accuracy, auc, confusion_matrix, *FORMULAS]


@pytest.mark.parametrize("make", OF_CLASSES)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 1, 2, 3)])
def test_pixels_of_masks_count_like_samples(make, n_classes, shape):
    found, true = FOUND.clamp(max=n_classes - 1), TRUE.clamp(max=n_classes - 1)
    flat = probabilities(found, n_classes)
    maps = flat.reshape(2, 2, 3, n_classes).movedim(-1, 1)

    assert scored(make(n_classes), (maps, true.reshape(shape).byte())) == scored(make(n_classes), (flat, true))


@pytest.mark.parametrize("make", OF_CLASSES)
def test_ignored_targets_do_not_count(make):
    predictions, true = probabilities(FOUND, 3), TRUE.clone()
    true[[0, 5]] = 255
    kept = true != 255

    score, of_kept = (
        scored(make(3, ignore_index=255), (predictions, true.byte())),
        scored(make(3), (predictions[kept], true[kept])),
    )
    assert (score, score.per_class, score.confusion) == (of_kept, of_kept.per_class, of_kept.confusion)


def pairs_in_order(scores, positive):
    """The share of pairs of a positive and a negative in which the positive scores higher, a tie being half of one."""
    difference = scores[positive][:, None] - scores[~positive][None]
    return ((difference > 0).double() + (difference == 0).double() / 2).mean().item()


def test_auc_is_the_share_of_pairs_in_order():
    two = torch.rand(12, dtype=torch.float64).round(decimals=1)
    three = torch.rand(12, 3).softmax(dim=1)

    binary = scored(auc(2), (torch.stack([1 - two, two], dim=1), TRUE.clamp(max=1)))
    assert binary == pytest.approx(pairs_in_order(two, TRUE > 0), rel=1e-12)
    wanted = [pairs_in_order(three[:, number], number == TRUE) for number in range(3)]
    assert scored(auc(3), (three, TRUE)) == pytest.approx(sum(wanted) / 3, rel=1e-12)
    assert scored(auc(3), (three, TRUE)).per_class == pytest.approx(wanted, rel=1e-12)
    assert scored(auc(3, thresholds=1000), (three, TRUE)) == pytest.approx(sum(wanted) / 3, abs=0.02)


@pytest.mark.parametrize("thresholds", [None, 5])
def test_who_says_the_same_of_all_has_half_the_area(thresholds):
    """And scores count, not only which class they make the most probable."""
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4])

    assert scored(auc(2, thresholds), (torch.full((12, 2), 0.5), TRUE.clamp(max=1))) == 0.5
    assert scored(auc(2, thresholds), (torch.stack([1 - scores, scores], dim=1), torch.tensor([0, 0, 1, 1]))) == 1.0


@pytest.mark.parametrize("make", OF_CLASSES)
def test_a_metric_begins_anew_after_its_value(make):
    measure, predictions = Measure(make(3)), probabilities(FOUND, 3)
    for each in (probabilities(TRUE, 3), predictions):
        measure.update(None, each, TRUE)
        value = measure.value()

    assert 0 < value < 1
    assert value == scored(make(3), (predictions, TRUE))


@pytest.mark.parametrize("make", OF_CLASSES)
def test_batches_are_one_state_and_no_mean_of_means(make):
    predictions = probabilities(FOUND, 3)

    in_batches = scored(make(3), *((predictions[part], TRUE[part]) for part in (slice(1), slice(1, 4), slice(4, 12))))
    assert in_batches == scored(make(3), (predictions, TRUE))


@pytest.mark.parametrize("make", [precision, recall, f1, iou, dice, specificity])
def test_nothing_there_and_nothing_found_is_right(make):
    nothing, all_ = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)

    assert scored(make(2), (probabilities(nothing, 2), nothing)) == 1.0
    assert scored(make(2), (probabilities(all_, 2), all_)) == 1.0
    assert scored(make(2), (probabilities(all_, 2), nothing)) == 0.0
    assert scored(make(2), (probabilities(nothing, 2), all_)) == 0.0


@pytest.mark.parametrize("make", [precision, recall, f1, iou, dice, specificity])
def test_a_class_neither_there_nor_found_is_left_out_of_the_mean(make):
    score = scored(make(4), (probabilities(FOUND, 4), TRUE))

    assert score == pytest.approx(scored(make(3), (probabilities(FOUND, 3), TRUE)), rel=1e-12)
    assert math.isnan(score.per_class[3])
    assert not any(map(math.isnan, score.per_class[:3]))


def test_a_class_that_is_found_and_not_there_is_wrong():
    score = scored(precision(3), (probabilities(torch.tensor([0, 1, 2, 1]), 3), torch.tensor([0, 1, 1, 1])))

    assert score.per_class == [1, 1, 0]
    assert score == pytest.approx(2 / 3)


def test_a_class_that_is_ignored_is_left_out_of_the_mean():
    score = scored(f1(3, ignore_index=0), (probabilities(torch.tensor([0, 1, 2, 2]), 3), torch.tensor([0, 1, 2, 1])))

    assert score.per_class[1:] == pytest.approx([2 / 3, 2 / 3])
    assert score == pytest.approx(2 / 3)


@pytest.mark.filterwarnings("ignore:auc")
def test_an_area_without_a_pair_is_no_number_and_left_out_of_the_mean():
    nothing = torch.zeros(4, dtype=torch.long)

    assert math.isnan(scored(auc(2), (probabilities(nothing, 2), nothing)))
    assert scored(auc(4), (probabilities(TRUE, 4), TRUE)) == 1.0


def test_the_area_tells_scores_apart_that_differ_in_float64():
    scores = torch.tensor([0.5, 0.5 + 1e-12], dtype=torch.float64)

    assert scored(auc(2), (torch.stack([1 - scores, scores], dim=1), torch.tensor([0, 1]))) == 1.0


def test_an_area_without_a_pair_is_told():
    with pytest.warns(UserWarning, match="auc: a class has no samples"):
        scored(auc(4), (probabilities(TRUE, 4), TRUE))


def test_the_class_is_among_the_best_k_by_score():
    scores = torch.tensor([[0.2, 0.1, 0.4, 0.3]]).repeat(4, 1)

    assert [scored(top_k_accuracy(4, k), (scores, torch.arange(4))) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert scored(top_k_accuracy(4, 2), (scores, torch.arange(4))).per_class == [0, 0, 1, 1]


def test_a_confusion_matrix_has_a_row_a_true_class():
    score = scored(confusion_matrix(3), (probabilities(torch.tensor([0, 2, 2, 1]), 3), torch.tensor([0, 1, 1, 2])))

    assert score.confusion == [[1, 0, 0], [0, 0, 2], [0, 1, 0]]
    assert score == 0.25


LABELS = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0], [1, 0, 0]])
GUESSED = torch.tensor([[0.9, 0.2, 0.4], [0.6, 0.1, 0.8], [0.7, 0.9, 0.3], [0.2, 0.4, 0.1], [0.4, 0.3, 0.2]])


@pytest.mark.parametrize("make", FORMULAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8, torch.bool])
def test_each_label_is_judged_by_itself(make, dtype):
    each = [counts(GUESSED[:, number] > 0.5, LABELS[:, number] > 0, 1) for number in range(3)]
    score = scored(make(3), (GUESSED, LABELS.to(dtype)))

    assert score.per_class == pytest.approx([FORMULAS[make](one) for one in each], rel=1e-12)
    assert score == pytest.approx(sum(score.per_class) / 3, rel=1e-12)


def test_the_accuracy_of_labels_is_the_share_of_them_that_is_right():
    assert scored(accuracy(3), (GUESSED, LABELS)) == pytest.approx(11 / 15)


def test_two_labels_are_no_positive_and_negative_class():
    two = scored(precision(2), (GUESSED[:, :2], LABELS[:, :2]))

    assert two.per_class == pytest.approx([2 / 3, 1])
    assert two == pytest.approx(5 / 6)


def test_labels_that_are_ignored_do_not_count():
    labels = LABELS.clone()
    labels[0, 2] = labels[2, 1] = -1

    assert scored(recall(3, ignore_index=-1), (GUESSED, labels)).per_class == pytest.approx([2 / 3, 0, 1])
    assert scored(auc(3, ignore_index=-1), (GUESSED, labels)).per_class[2] == 1.0


def boxes(*corners, labels=None, scores=None):
    """As torchvision has those of an image."""
    found = {"boxes": torch.tensor(corners).reshape(-1, 4).float(), "labels": torch.tensor(labels or [1] * len(corners)).long()}
    return found | ({"scores": torch.tensor(scores).float()} if scores is not None else {})


BOX, FAR = (10, 10, 30, 30), (50, 50, 90, 80)


def test_four_fifths_of_the_boxes_found_are_so_much_of_the_precision():
    places = [(x, 10, x + 15, 30) for x in range(0, 100, 20)]
    found, true = boxes(*places[:4], scores=[0.9, 0.8, 0.7, 0.6]), boxes(*places)

    score = scored(mean_average_precision(3), ([found], [true]))
    assert score == pytest.approx(81 / 101, rel=1e-6)  # recalls 0, 0.01, ..., 0.8 of the 101
    assert score.per_class[0] == score
    assert [math.isnan(each) for each in score.per_class] == [False, True, True]


def test_a_true_box_of_the_background_is_refused():
    with pytest.raises(ValueError, match="labels of boxes begin at 1"):
        scored(mean_average_precision(3), ([boxes(scores=[])], [boxes(BOX, labels=[0])]))


def test_how_much_of_a_box_must_be_met_can_be_chosen():
    found, true = boxes((10, 10, 30, 26), scores=[0.9]), boxes(BOX)  # 0.8 of the union

    assert [scored(mean_average_precision(2, at), ([found], [true])) for at in (0.75, 0.85)] == [1.0, 0.0]
    assert scored(mean_average_precision(2), ([found], [true])) == pytest.approx(0.7)


def test_the_order_of_images_does_not_decide_between_boxes_of_one_score():
    right, wrong = (boxes(BOX, scores=[0.5]), boxes(BOX)), (boxes(FAR, scores=[0.5]), boxes(BOX))

    first, second = (
        scored(mean_average_precision(2), *(([found], [true]) for found, true in order))
        for order in ((right, wrong), (wrong, right))
    )
    assert first == second


def test_images_without_any_box_have_no_precision():
    score = scored(mean_average_precision(2), ([boxes(scores=[])], [boxes()]))

    assert math.isnan(score)
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
def test_what_does_not_fit_is_refused(predictions, targets):
    with pytest.raises(ValueError, match="got"):
        precision(3).update(predictions, targets)


@pytest.mark.parametrize("make", [confusion_matrix, lambda n: top_k_accuracy(n, k=2)])
def test_what_is_of_one_class_a_sample_refuses_labels(make):
    with pytest.raises(ValueError, match="one a sample; got labels"):
        make(3).update(GUESSED, LABELS)


REFUSED = [
    (top_k_accuracy, {"k": 4}),
    (top_k_accuracy, {"k": 0}),
    (auc, {"thresholds": 1}),
    (mean_average_precision, {"threshold": 0.0}),
]


@pytest.mark.parametrize(("make", "params"), REFUSED)
def test_parameters_that_cannot_be_are_refused(make, params):
    with pytest.raises(ValueError, match="got"):
        make(3, **params)
