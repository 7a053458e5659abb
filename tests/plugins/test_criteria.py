"""Losses against their formulas, in float64."""

import pytest
import torch

from ddpkit_plugins.criteria.dice import Dice
from ddpkit_plugins.criteria.entropy import BinaryCrossEntropy, CrossEntropy
from ddpkit_plugins.criteria.regression import MeanAbsoluteError, MeanSquaredError, SmoothL1

MASKS = torch.tensor([[[0, 1, 2], [2, 1, 0]], [[0, 0, 0], [0, 2, 2]]])
LOGITS = torch.randn(2, 3, 2, 3, dtype=torch.float64)
INTEGERS = [torch.uint8, torch.int64]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 1, 2, 3)])
def test_cross_entropy_of_masks_is_the_mean_over_pixels(shape, dtype):
    chosen = -LOGITS.log_softmax(dim=1).gather(1, MASKS[:, None])

    torch.testing.assert_close(CrossEntropy()(LOGITS, MASKS.reshape(shape).to(dtype)), chosen.mean())


def test_cross_entropy_weighs_classes_and_passes_over_ignored_pixels():
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    masks = MASKS.clone()
    masks[0, 0] = 255
    kept = masks != 255

    chosen = -LOGITS.log_softmax(dim=1).gather(1, MASKS[:, None])[:, 0][kept]
    weights = weight[masks[kept]]
    loss = CrossEntropy(n_classes=3, weight=[1.0, 2.0, 0.5], ignore_index=255).double()
    torch.testing.assert_close(loss(LOGITS, masks.byte()), (weights * chosen).sum() / weights.sum())


def test_cross_entropy_takes_probabilities_as_targets():
    logits, targets = LOGITS[..., 0, 0], torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]], dtype=torch.float64)

    torch.testing.assert_close(CrossEntropy()(logits, targets), -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean())


@pytest.mark.parametrize("dtype", [*INTEGERS, torch.float64])
@pytest.mark.parametrize(
    ("shape", "target_shape"),
    [((6,), (6,)), ((6, 1), (6,)), ((6,), (6, 1)), ((2, 3), (2, 3)), ((1, 1, 2, 3), (1, 2, 3)), ((1, 1, 2, 3), (1, 1, 2, 3))],
)
def test_bce_is_the_mean_over_elements(shape, target_shape, dtype):
    logits, targets = torch.randn(6, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1, 0])

    positive = 1 / (1 + torch.exp(-logits))
    wanted = -(3 * targets * positive.log() + (1 - targets) * (1 - positive).log()).mean()
    loss = BinaryCrossEntropy(pos_weight=3.0)(logits.reshape(shape), targets.reshape(target_shape).to(dtype))
    torch.testing.assert_close(loss, wanted)


def dice_of(predicted, true, smooth):
    return 1 - (2 * (predicted * true).sum() + smooth) / (predicted.sum() + true.sum() + smooth)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 1, 2, 3)])
def test_dice_of_one_logit_is_that_of_the_foreground_of_each_sample(shape, dtype):
    true, predicted = (MASKS > 0).double(), LOGITS[:, 0].sigmoid()

    wanted = (dice_of(predicted[0], true[0], 0.1) + dice_of(predicted[1], true[1], 0.1)) / 2
    torch.testing.assert_close(Dice(smooth=0.1)(LOGITS[:, :1], true.reshape(shape).to(dtype)), wanted)


@pytest.mark.parametrize(("include_background", "classes"), [(True, [0, 1, 2]), (False, [1, 2])])
def test_dice_of_several_is_the_mean_over_classes_and_samples(include_background, classes):
    predicted = LOGITS.softmax(dim=1)

    each = [dice_of(predicted[b, c], (MASKS[b] == c).double(), 1.0) for b in range(2) for c in classes]
    loss = Dice(include_background=include_background)(LOGITS, MASKS[:, None].byte())
    torch.testing.assert_close(loss, torch.stack(each).mean())


@pytest.mark.parametrize(
    "criterion", [CrossEntropy(), BinaryCrossEntropy(), Dice(), Dice(include_background=False), MeanSquaredError(), SmoothL1()]
)
def test_a_batch_is_the_mean_of_its_samples(criterion):
    one_logit = isinstance(criterion, BinaryCrossEntropy)
    logits = LOGITS if isinstance(criterion, CrossEntropy | Dice) else LOGITS[:, :1]
    masks = (MASKS > 0).byte() if one_logit else MASKS

    each = torch.stack([criterion(logits[[number]], masks[[number]]) for number in range(2)])
    torch.testing.assert_close(criterion(logits, masks), each.mean())


def test_dice_of_a_large_mask_does_not_leave_float16():
    loss = Dice()(torch.zeros(1, 1, 512, 512, dtype=torch.float16), torch.ones(1, 512, 512, dtype=torch.uint8))

    assert loss.item() == pytest.approx(1 / 3, abs=1e-4)


@pytest.mark.parametrize(
    ("criterion", "formula"),
    [
        (MeanSquaredError(), lambda d: d**2),
        (MeanAbsoluteError(), lambda d: d.abs()),
        (SmoothL1(beta=0.5), lambda d: torch.where(d.abs() < 0.5, d**2, d.abs() - 0.25)),
    ],
)
def test_regressions_are_means_over_elements(criterion, formula):
    outputs, targets = torch.tensor([[0.1], [2.0], [-1.0]]), torch.tensor([0.3, -1.0, -1.25], dtype=torch.float64)

    loss = criterion(outputs, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, formula(outputs[:, 0] - targets.float()).mean())


@pytest.mark.parametrize(
    ("criterion", "outputs", "targets"),
    [
        (CrossEntropy(), torch.zeros(2, 3), torch.zeros(2)),
        (CrossEntropy(), torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4, dtype=torch.uint8)),
        (BinaryCrossEntropy(), torch.zeros(2, 2), torch.zeros(2)),
        (BinaryCrossEntropy(), torch.zeros(2, 1), torch.tensor([0, 255])),
        (Dice(), torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)),
        (Dice(), torch.zeros(1, 1, 2, 1), torch.tensor([[[0], [255]]])),
        (Dice(), torch.zeros(1, 3, 2, 1), torch.tensor([[[0], [3]]])),
        (MeanSquaredError(), torch.zeros(4, 2), torch.zeros(4)),
    ],
)
def test_targets_that_do_not_fit_are_refused(criterion, outputs, targets):
    with pytest.raises(ValueError, match="got"):
        criterion(outputs, targets)


@pytest.mark.parametrize(
    ("make", "params"),
    [
        (CrossEntropy, {"weight": [1.0, 2.0], "n_classes": 3}), (CrossEntropy, {"weight": [1.0, -2.0]}),
        (CrossEntropy, {"weight": []}), (BinaryCrossEntropy, {"pos_weight": 0.0}), (Dice, {"smooth": 0.0}), (SmoothL1, {"beta": 0.0}),
    ],
)  # fmt: skip
def test_parameters_that_cannot_be_are_refused(make, params):
    with pytest.raises(ValueError, match="got"):
        make(**params)
