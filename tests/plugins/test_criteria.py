"""Losses against their formulas, in float64."""

import pytest
import torch
from torch.nn.functional import log_softmax

from ddpkit_plugins.criteria import l1, mse, smooth_l1
from ddpkit_plugins.criteria.losses import BinaryCrossEntropy, CrossEntropy, Dice


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def test_cross_entropy_is_the_mean_of_negative_log_probabilities():
    outputs, targets = noise(5, 3), torch.tensor([0, 1, 2, 0, 1])
    wanted = -log_softmax(outputs, dim=1)
    chosen = wanted[range(5), targets]

    torch.testing.assert_close(CrossEntropy()(outputs, targets), chosen.mean())
    torch.testing.assert_close(
        CrossEntropy(label_smoothing=0.1)(outputs, targets), (0.9 * chosen + 0.1 * wanted.mean(dim=1)).mean()
    )
    weights = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    weighted = (chosen * weights[targets]).sum() / weights[targets].sum()
    torch.testing.assert_close(CrossEntropy(weight=[1.0, 2.0, 0.5])(outputs, targets), weighted)
    torch.testing.assert_close(CrossEntropy(ignore_index=0)(outputs, targets), chosen[targets != 0].mean())


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 1, 4, 4)])
def test_masks_of_bytes_with_or_without_a_channel_are_targets(shape):
    mask = (noise(2, 4, 4) > 0).to(torch.uint8)
    two, one = noise(2, 2, 4, 4), noise(2, 1, 4, 4)

    assert CrossEntropy()(two, mask.reshape(shape)) == CrossEntropy()(two, mask.long())
    assert Dice()(two, mask.reshape(shape)) == Dice()(two, mask.long())
    assert Dice()(one, mask.reshape(shape)) == Dice()(one, mask.long())
    assert BinaryCrossEntropy()(one, mask.reshape(shape)) == BinaryCrossEntropy()(one, mask.long())


def test_bce_is_its_formula():
    outputs, targets = noise(6, 1), torch.tensor([0, 1, 1, 0, 1, 0])
    shares = outputs.sigmoid()[:, 0]

    wanted = -(2.5 * targets * shares.log() + (1 - targets) * (1 - shares).log()).mean()

    torch.testing.assert_close(BinaryCrossEntropy(pos_weight=2.5)(outputs, targets), wanted)
    with pytest.raises(ValueError, match=r"a target for each logit, got \(6, 1\) and \(3,\)"):
        BinaryCrossEntropy()(outputs, targets[:3])


def test_dice_is_a_mean_over_samples():
    outputs, masks = noise(4, 1, 3, 3), (noise(4, 3, 3) > 0).long()
    singles = []
    for share, mask in zip(outputs.sigmoid()[:, 0], masks, strict=True):
        singles.append(1 - (2 * (share * mask).sum() + 0.5) / (share.sum() + mask.sum() + 0.5))

    torch.testing.assert_close(Dice(smooth=0.5)(outputs, masks), torch.stack(singles).mean())


def test_dice_of_several_classes_is_their_mean_with_or_without_the_background():
    outputs, masks = noise(2, 3, 4, 4), torch.arange(32).reshape(2, 4, 4) % 3
    shares = outputs.softmax(1)
    singles = [
        [1 - (2 * shares[n, c][masks[n] == c].sum() + 1) / (shares[n, c].sum() + (masks[n] == c).sum() + 1) for c in range(3)]
        for n in range(2)
    ]
    wanted = torch.tensor(singles)

    torch.testing.assert_close(Dice()(outputs, masks), wanted.mean())
    torch.testing.assert_close(Dice(include_background=False)(outputs, masks), wanted[:, 1:].mean())


def test_perfect_masks_lose_nothing():
    masks = torch.tensor([[[0, 1], [1, 0]]])

    assert Dice()(40.0 * (2.0 * masks.unsqueeze(1) - 1), masks) == pytest.approx(0.0, abs=1e-6)


def test_distances_are_their_formulas():
    outputs, targets = noise(8), torch.zeros(8, dtype=torch.float64)

    torch.testing.assert_close(mse()(outputs, targets), (outputs**2).mean())
    torch.testing.assert_close(l1()(outputs, targets), outputs.abs().mean())
    small = outputs.abs() < 0.5
    torch.testing.assert_close(smooth_l1(0.5)(outputs, targets), torch.where(small, outputs**2, outputs.abs() - 0.25).mean())


@pytest.mark.parametrize(
    ("make", "params"),
    [(CrossEntropy, {"label_smoothing": 1.5}), (CrossEntropy, {"weight": [-1.0]}), (BinaryCrossEntropy, {"pos_weight": 0.0}),
     (Dice, {"smooth": 0.0}), (smooth_l1, {"beta": 0.0})],
)  # fmt: skip
def test_parameters_that_cannot_be_are_refused(make, params):
    with pytest.raises(ValueError, match=r"got"):
        make(**params)
