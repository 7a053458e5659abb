"""Losses match their formulas in float64."""

import pytest
import torch

from ddpkit_plugins.criteria.entropy import BinaryCrossEntropy, CrossEntropy, KullbackLeibler
from ddpkit_plugins.criteria.focal import Focal
from ddpkit_plugins.criteria.overlap import Dice, Jaccard, Tversky
from ddpkit_plugins.criteria.regression import MeanAbsoluteError, MeanSquaredError, SmoothL1

MASKS = torch.tensor([[[0, 1, 2], [2, 1, 0]], [[0, 0, 0], [0, 2, 2]]])
LOGITS = torch.randn(2, 3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
CHANCES = LOGITS.roll(1, dims=0).softmax(dim=1)
INTEGERS = [torch.uint8, torch.int64]


def assert_equal_in_float64(loss, wanted):
    """Equal up to the rounding of float64 sums."""
    torch.testing.assert_close(loss, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 1, 2, 3)])
def test_cross_entropy_of_masks_is_the_mean_over_pixels(shape, dtype):
    chosen = -LOGITS.log_softmax(dim=1).gather(1, MASKS[:, None])

    assert_equal_in_float64(CrossEntropy()(LOGITS, MASKS.reshape(shape).to(dtype)), chosen.mean())


def test_cross_entropy_weights_classes_and_ignores_pixels():
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    masks = MASKS.clone()
    masks[0, 0] = 255
    kept = masks != 255

    chosen = -LOGITS.log_softmax(dim=1).gather(1, MASKS[:, None])[:, 0][kept]
    weights = weight[masks[kept]]
    loss = CrossEntropy(weight=[1.0, 2.0, 0.5], ignore_index=255)
    assert_equal_in_float64(loss(LOGITS, masks.byte()), (weights * chosen).sum() / weights.sum())


@pytest.mark.parametrize("masks", [MASKS.byte(), MASKS[:, None]])
@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"weight": [1.0, 2.0, 0.5], "ignore_index": 0}, 2 * 2 + 4 * 0.5),
        ({"weight": [1.0, 2.0, 0.5]}, 6 + 2 * 2 + 4 * 0.5),
        ({"ignore_index": 2}, 8),
    ],
)
def test_the_weight_of_targets_is_the_sum_of_their_class_weights(params, wanted, masks):
    loss = CrossEntropy(**params)

    assert loss.weight(masks) == wanted
    values = [loss(LOGITS[[number]], masks[[number]]) * loss.weight(masks[[number]]) for number in range(2)]
    assert_equal_in_float64(loss(LOGITS, masks), sum(values) / wanted)


def test_the_weight_of_probabilities_is_their_number():
    assert CrossEntropy(weight=[1.0, 2.0, 0.5]).weight(CHANCES) == 12


def test_cross_entropy_without_weights_has_no_weight():
    assert not hasattr(CrossEntropy(label_smoothing=0.1), "weight")


def test_cross_entropy_accepts_probability_targets():
    logits, targets = LOGITS[..., 0, 0], torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]], dtype=torch.float64)

    assert_equal_in_float64(CrossEntropy()(logits, targets), -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean())


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
    assert_equal_in_float64(loss, wanted)


def test_bce_pos_weight_applies_per_label():
    targets, weights = (MASKS[:, None] == torch.arange(3).view(3, 1, 1)).double(), torch.tensor([3.0, 1.0, 0.5]).view(3, 1, 1)
    positive = 1 / (1 + torch.exp(-LOGITS))

    wanted = -(weights * targets * positive.log() + (1 - targets) * (1 - positive).log()).mean()
    assert_equal_in_float64(BinaryCrossEntropy(pos_weight=[3.0, 1.0, 0.5])(LOGITS, targets), wanted)


def test_bce_of_one_logit_accepts_pos_weight_as_a_list():
    logits, targets = LOGITS[:, :1], (MASKS[:, None] == 1).double()

    assert_equal_in_float64(
        BinaryCrossEntropy(pos_weight=[3.0])(logits, targets), BinaryCrossEntropy(pos_weight=3.0)(logits, targets)
    )


@pytest.mark.parametrize("params", [{}, {"weight": [1.0, 2.0, 0.5]}, {"label_smoothing": 0.1}])
def test_cross_entropy_of_only_ignored_pixels_is_zero(params):
    logits = LOGITS.clone().requires_grad_()

    loss = CrossEntropy(ignore_index=255, **params)(logits, torch.full_like(MASKS, 255))
    loss.backward()

    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize(
    "params", [{}, {"weight": [1.0, 2.0, 0.5]}, {"label_smoothing": 0.1}, {"weight": [1.0, 2.0, 0.5], "label_smoothing": 0.2}]
)
def test_cross_entropy_matches_torch(params):
    masks = MASKS.clone()
    masks[0, 0] = 255
    weight = {"weight": torch.tensor(params["weight"], dtype=torch.float64)} if "weight" in params else {}

    wanted = torch.nn.functional.cross_entropy(LOGITS, masks, ignore_index=255, **params | weight)
    assert_equal_in_float64(CrossEntropy(ignore_index=255, **params)(LOGITS, masks), wanted)


def test_label_smoothing_matches_its_formula():
    one_hot = torch.nn.functional.one_hot(MASKS, 3).movedim(-1, 1).double()

    wanted = -((0.9 * one_hot + 0.1 / 3) * LOGITS.log_softmax(dim=1)).sum(dim=1).mean()
    assert_equal_in_float64(CrossEntropy(label_smoothing=0.1)(LOGITS, MASKS), wanted)


def test_kl_is_the_mean_divergence_per_pixel():
    wanted = (CHANCES * (CHANCES / LOGITS.softmax(dim=1)).log()).sum() / 12

    assert_equal_in_float64(KullbackLeibler()(LOGITS, CHANCES), wanted)
    assert_equal_in_float64(KullbackLeibler()(CHANCES.log(), CHANCES), torch.zeros((), dtype=torch.float64))


@pytest.mark.parametrize("gamma", [0, 1, 2.5])
def test_multiclass_focal_loss_matches_its_formula(gamma):
    right = LOGITS.softmax(dim=1).gather(1, MASKS[:, None])

    assert_equal_in_float64(Focal(gamma=gamma)(LOGITS, MASKS[:, None].byte()), -((1 - right) ** gamma * right.log()).mean())


@pytest.mark.parametrize(("alpha", "weights"), [(None, (1, 1)), (0.25, (0.25, 0.75))])
@pytest.mark.parametrize(("logits", "targets"), [(LOGITS[:, :1], (MASKS > 0).byte()), (LOGITS, (CHANCES > 0.5).byte())])
def test_binary_focal_loss_weights_positives_and_negatives(logits, targets, alpha, weights):
    positive, true = logits.sigmoid(), targets.reshape(logits.shape).double()

    each = weights[0] * true * (1 - positive) ** 2 * positive.log()
    each += weights[1] * (1 - true) * positive**2 * (1 - positive).log()
    assert_equal_in_float64(Focal(alpha=alpha)(logits, targets), -each.mean())


def dice_of(predicted, true, smooth):
    return 1 - (2 * (predicted * true).sum() + smooth) / (predicted.sum() + true.sum() + smooth)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 1, 2, 3)])
def test_binary_dice_is_the_foreground_dice_per_sample(shape, dtype):
    true, predicted = (MASKS > 0).double(), LOGITS[:, 0].sigmoid()

    wanted = (dice_of(predicted[0], true[0], 0.1) + dice_of(predicted[1], true[1], 0.1)) / 2
    assert_equal_in_float64(Dice(smooth=0.1)(LOGITS[:, :1], true.reshape(shape).to(dtype)), wanted)


@pytest.mark.parametrize(("include_background", "classes"), [(True, [0, 1, 2]), (False, [1, 2])])
def test_multiclass_dice_is_the_mean_over_classes_and_samples(include_background, classes):
    predicted = LOGITS.softmax(dim=1)

    each = [dice_of(predicted[b, c], (MASKS[b] == c).double(), 1.0) for b in range(2) for c in classes]
    loss = Dice(include_background=include_background)(LOGITS, MASKS[:, None].byte())
    assert_equal_in_float64(loss, torch.stack(each).mean())


@pytest.mark.parametrize(("include_background", "classes"), [(True, [0, 1, 2]), (False, [1, 2])])
@pytest.mark.parametrize(("make", "alpha", "beta"), [(Tversky, 0.3, 0.7), (Jaccard, 1, 1), (Dice, 0.5, 0.5)])
def test_overlap_losses_weight_false_positives_and_negatives(make, alpha, beta, include_background, classes):
    smooth, each, predicted = 0.1, [], LOGITS.softmax(dim=1)
    for b in range(2):
        for c in classes:
            p, t = predicted[b, c], (MASKS[b] == c).double()
            hits, false_alarms, misses = (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()
            each.append(1 - (hits + smooth) / (hits + alpha * false_alarms + beta * misses + smooth))

    loss = make(smooth=2 * smooth if make is Dice else smooth, include_background=include_background)
    assert_equal_in_float64(loss(LOGITS, MASKS), torch.stack(each).mean())


@pytest.mark.parametrize(("make", "alpha", "beta"), [(Tversky, 0.3, 0.7), (Jaccard, 1, 1), (Dice, 0.5, 0.5)])
def test_batch_wise_overlap_sums_over_all_samples(make, alpha, beta):
    smooth, each, predicted = 0.1, [], LOGITS.softmax(dim=1)
    for c in range(3):
        p, t = predicted[:, c], (c == MASKS).double()
        hits, false_alarms, misses = (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()
        each.append(1 - (hits + smooth) / (hits + alpha * false_alarms + beta * misses + smooth))

    loss = make(smooth=2 * smooth if make is Dice else smooth, batch=True)
    assert_equal_in_float64(loss(LOGITS, MASKS), torch.stack(each).mean())


def test_jaccard_is_one_minus_iou():
    predicted = torch.tensor([[[[0, 1, 1], [1, 0, 0]]]]).bool()
    true = torch.tensor([[[0, 0, 1], [1, 1, 0]]]).bool()

    loss = Jaccard(smooth=1e-9)(torch.where(predicted, 40.0, -40.0).double(), true.byte())
    torch.testing.assert_close(loss, torch.tensor(1 - 2 / 4, dtype=torch.float64), rtol=0, atol=1e-9)


OF_CLASSES = (LOGITS, MASKS)
OF_ONE_LOGIT = (LOGITS[:, :1], (MASKS > 0).byte())
CRITERIA = [
    (CrossEntropy(label_smoothing=0.1), *OF_CLASSES),
    (BinaryCrossEntropy(pos_weight=2.0), *OF_ONE_LOGIT),
    (KullbackLeibler(), LOGITS, CHANCES),
    (Focal(), *OF_CLASSES),
    (Focal(gamma=1.5, alpha=0.25), *OF_ONE_LOGIT),
    (Dice(), *OF_CLASSES),
    (Dice(include_background=False), *OF_CLASSES),
    (Tversky(), *OF_ONE_LOGIT),
    (Jaccard(), *OF_CLASSES),
    (MeanSquaredError(), *OF_ONE_LOGIT),
    (MeanAbsoluteError(), *OF_ONE_LOGIT),
    (SmoothL1(beta=0.5), *OF_ONE_LOGIT),
]


@pytest.mark.parametrize(("criterion", "logits", "targets"), CRITERIA)
def test_a_batch_loss_is_the_mean_of_its_samples(criterion, logits, targets):
    each = torch.stack([criterion(logits[[number]], targets[[number]]) for number in range(2)])

    assert_equal_in_float64(criterion(logits, targets), each.mean())


@pytest.mark.parametrize(("criterion", "logits", "targets"), [*CRITERIA, (CrossEntropy(weight=[1.0, 2.0, 0.5]), *OF_CLASSES)])
def test_gradients_match_finite_differences(criterion, logits, targets):
    outputs = logits.clone().requires_grad_()

    assert torch.autograd.gradcheck(lambda outputs: criterion(outputs, targets), [outputs])


@pytest.mark.parametrize(("criterion", "logits", "targets"), CRITERIA)
def test_gradients_are_finite_for_saturated_logits(criterion, logits, targets):
    outputs = (200 * logits.float().sign()).requires_grad_()
    criterion(outputs, targets.float() if targets.is_floating_point() else targets).backward()

    assert torch.isfinite(outputs.grad).all()


def test_dice_of_a_large_mask_does_not_overflow_float16():
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
def test_regression_losses_are_means_over_elements(criterion, formula):
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
        (Focal(), torch.zeros(2, 1), torch.tensor([0, 255])),
        (Focal(), torch.zeros(2, 3), torch.tensor([0, 3])),
        (Focal(), torch.zeros(2, 3), torch.tensor([0.0, 1.0])),
        (KullbackLeibler(), torch.zeros(1, 2), torch.tensor([[1, 0]])),
        (KullbackLeibler(), torch.zeros(1, 2), torch.tensor([1.0])),
        (KullbackLeibler(), torch.zeros(1, 2), torch.tensor([[0.5, 0.6]])),
        (KullbackLeibler(), torch.zeros(1, 2), torch.tensor([[1.5, -0.5]])),
        (Tversky(), torch.zeros(1, 3, 2, 1), torch.tensor([[[0], [3]]])),
        (Dice(), torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)),
        (Dice(), torch.zeros(1, 1, 2, 1), torch.tensor([[[0], [255]]])),
        (Dice(), torch.zeros(1, 3, 2, 1), torch.tensor([[[0], [3]]])),
        (MeanSquaredError(), torch.zeros(4, 2), torch.zeros(4)),
        (CrossEntropy(weight=[1.0, 2.0]), torch.zeros(2, 3), torch.tensor([0, 2])),
        (BinaryCrossEntropy(pos_weight=[1.0, 2.0]), torch.zeros(2, 1), torch.zeros(2)),
        (BinaryCrossEntropy(pos_weight=[1.0, 2.0]), torch.zeros(2), torch.zeros(2)),
    ],
)
def test_mismatched_outputs_and_targets_are_rejected(criterion, outputs, targets):
    with pytest.raises(ValueError, match="got"):
        criterion(outputs, targets)


def test_multiclass_focal_loss_rejects_alpha():
    with pytest.raises(ValueError, match="class indices do not have; remove 'alpha'"):
        Focal(alpha=0.25)(LOGITS, MASKS)


@pytest.mark.parametrize(
    ("make", "params", "message"),
    [
        (CrossEntropy, {"weight": [1.0, -2.0]}, "at least 0"),
        (CrossEntropy, {"weight": []}, "one number per class"),
        (BinaryCrossEntropy, {"pos_weight": 0.0}, "greater than 0; got 0"),
        (BinaryCrossEntropy, {"pos_weight": []}, "greater than 0; got"),
        (Focal, {"gamma": 0.5}, "0 or at least 1; got 0.5"),
        (Focal, {"alpha": 25.0}, "between 0 and 1; got 25"),
        (Dice, {"smooth": 0.0}, "smooth must be greater than 0"),
        (Tversky, {"alpha": -0.1}, "at least 0"),
        (Tversky, {"alpha": 0.0, "beta": 0.0}, "not both 0"),
        (SmoothL1, {"beta": 0.0}, "got 0"),
    ],
)
def test_invalid_parameters_are_rejected(make, params, message):
    with pytest.raises(ValueError, match=message):
        make(**params)
