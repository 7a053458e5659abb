"""Metrics against counts made by hand."""

from typing import NamedTuple

import pytest
import torch

from ddpkit_plugins.metrics.classes import accuracy, auc, dice, f1, iou, precision, recall, specificity


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


def probabilities(found, n_classes):
    """Of which the class found is the most probable."""
    one_hot = torch.nn.functional.one_hot(found, n_classes).movedim(-1, 1)
    return (one_hot + torch.rand(one_hot.shape) * 0.5).softmax(dim=1)


@pytest.mark.parametrize("make", FORMULAS)
def test_two_classes_mean_the_positive_one(make):
    found, true = FOUND.clamp(max=1), TRUE.clamp(max=1)

    value = make(2)(probabilities(found, 2), true)
    assert value.shape == ()
    assert value.item() == pytest.approx(FORMULAS[make](counts(found, true, 1)))
    assert make(1)(probabilities(found, 2), true) == value


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("make", FORMULAS)
def test_averages_over_classes_and_over_samples(make, n_classes):
    found, true = FOUND.clamp(max=n_classes - 1), TRUE.clamp(max=n_classes - 1)
    each = [counts(found, true, number) for number in range(n_classes)]
    predictions = probabilities(found, n_classes)

    macro = sum(FORMULAS[make](one) for one in each) / n_classes
    micro = FORMULAS[make](Counts(*map(sum, zip(*each, strict=True))))
    assert make(n_classes, average="macro")(predictions, true).item() == pytest.approx(macro)
    assert make(n_classes, average="micro")(predictions, true).item() == pytest.approx(micro)
    if n_classes > 2:
        assert make(n_classes)(predictions, true).item() == pytest.approx(macro)


@pytest.mark.parametrize("make", [accuracy, auc, *FORMULAS])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 1, 2, 3)])
def test_pixels_of_masks_count_like_samples(make, n_classes, shape):
    found, true = FOUND.clamp(max=n_classes - 1), TRUE.clamp(max=n_classes - 1)
    flat = probabilities(found, n_classes)
    maps = flat.reshape(2, 2, 3, n_classes).movedim(-1, 1)

    torch.testing.assert_close(make(n_classes)(maps, true.reshape(shape).byte()), make(n_classes)(flat, true))


@pytest.mark.parametrize("make", [accuracy, auc, *FORMULAS])
def test_ignored_targets_do_not_count(make):
    predictions, true = probabilities(FOUND, 3), TRUE.clone()
    true[[0, 5]] = 255
    kept = true != 255

    torch.testing.assert_close(make(3, ignore_index=255)(predictions, true.byte()), make(3)(predictions[kept], true[kept]))


def pairs_in_order(scores, positive):
    """The share of pairs of a positive and a negative in which the positive scores higher, a tie being half of one."""
    difference = scores[positive][:, None] - scores[~positive][None]
    return ((difference > 0).double() + (difference == 0).double() / 2).mean().item()


def test_auc_is_the_share_of_pairs_in_order():
    two = torch.rand(12, dtype=torch.float64).round(decimals=1)
    three = torch.rand(12, 3).softmax(dim=1)

    binary = auc(2)(torch.stack([1 - two, two], dim=1), TRUE.clamp(max=1))
    assert binary.item() == pytest.approx(pairs_in_order(two, TRUE > 0))
    wanted = sum(pairs_in_order(three[:, number], number == TRUE) for number in range(3)) / 3
    assert auc(3)(three, TRUE).item() == pytest.approx(wanted)
    assert auc(3, thresholds=1000)(three, TRUE).item() == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("make", [accuracy, auc, *FORMULAS])
def test_a_metric_begins_anew_after_a_reset(make):
    metric = make(3)
    metric.update(probabilities(TRUE, 3), TRUE)
    metric.compute()
    metric.reset()
    metric.update(probabilities(FOUND, 3), TRUE)

    assert 0 < metric.compute() < 1


@pytest.mark.parametrize(
    ("predictions", "targets"),
    [
        (torch.rand(4, 3), torch.tensor([0, 1, 2, 3])),
        (torch.rand(1, 3, 2, 2), torch.tensor([[[0, 0], [255, 255]]])),
        (torch.rand(4, 2), torch.tensor([0, 1, 1, 0])),
        (torch.rand(4, 1), torch.tensor([0, 1, 1, 0])),
        (torch.rand(4, 3), torch.rand(4)),
        (torch.rand(4, 3), torch.zeros(4, 3, dtype=torch.long)),
        (torch.rand(4), torch.tensor([0, 1, 1, 0])),
    ],
)
def test_what_does_not_fit_is_refused(predictions, targets):
    with pytest.raises(ValueError, match="got"):
        precision(3).update(predictions, targets)


@pytest.mark.parametrize(("make", "params"), [(accuracy, {"top_k": 4}), (accuracy, {"top_k": 0}), (auc, {"thresholds": 1})])
def test_parameters_that_cannot_be_are_refused(make, params):
    with pytest.raises(ValueError, match="got"):
        make(3, **params)
