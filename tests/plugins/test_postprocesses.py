"""Outputs to probabilities."""

import pytest
import torch

from ddpkit_plugins.postprocesses import binary_segmentation, multilabel, segmentation

LOGITS = torch.randn(2, 3, 4, 5, dtype=torch.float64)


def test_one_logit_a_pixel_is_the_foreground():
    probabilities = binary_segmentation()(LOGITS[:, :1])

    foreground = 1 / (1 + torch.exp(-LOGITS[:, 0]))
    torch.testing.assert_close(probabilities, torch.stack([1 - foreground, foreground], dim=1))


@pytest.mark.parametrize(("make", "n_classes"), [(binary_segmentation, 2), (segmentation, 2), (segmentation, 3)])
def test_several_logits_a_pixel_share_it(make, n_classes):
    logits = LOGITS[:, :n_classes]

    torch.testing.assert_close(make()(logits), logits.exp() / logits.exp().sum(dim=1, keepdim=True))


def test_labels_are_judged_each_by_itself():
    torch.testing.assert_close(multilabel()(LOGITS), 1 / (1 + torch.exp(-LOGITS)))


@pytest.mark.parametrize(("make", "n_classes"), [(binary_segmentation, 3), (segmentation, 1)])
def test_outputs_of_another_kind_are_refused(make, n_classes):
    with pytest.raises(ValueError, match=f"got {n_classes}"):
        make()(LOGITS[:, :n_classes])
