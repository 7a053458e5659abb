"""Models, losses, postprocess and accuracy on small real tensors."""

import pytest
import torch
from torch.nn.functional import log_softmax

from ddpkit_plugins.criteria import cross_entropy
from ddpkit_plugins.metrics import accuracy
from ddpkit_plugins.models import resnet18
from ddpkit_plugins.postprocesses import classification


@pytest.mark.parametrize("n_channels", [1, 3, 5])
def test_resnet18_takes_any_channels_and_classes(n_channels):
    model = resnet18(n_channels=n_channels, n_classes=7).eval()

    assert model(torch.rand(2, n_channels, 32, 32)).shape == (2, 7)


def test_cross_entropy_is_the_mean_of_negative_log_probabilities():
    outputs, targets = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    wanted = -log_softmax(outputs, dim=1)

    chosen = wanted[range(5), targets]
    torch.testing.assert_close(cross_entropy()(outputs, targets), chosen.mean())
    smooth = 0.9 * chosen + 0.1 * wanted.mean(dim=1)
    torch.testing.assert_close(cross_entropy(label_smoothing=0.1)(outputs, targets), smooth.mean())


@pytest.mark.parametrize(("logits", "probabilities"), [([[0.0]], [[0.5, 0.5]]), ([[0.0, 0.0, 0.0, 0.0]], [[0.25] * 4])])
def test_classification_gives_a_probability_for_each_class(logits, probabilities):
    assert classification()(torch.tensor(logits)).tolist() == probabilities


def test_accuracy_is_the_share_of_right_samples():
    predictions = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])
    targets = torch.tensor([0, 1, 2, 0])

    assert accuracy(3)(predictions, targets) == 0.5
    assert accuracy(3, top_k=2)(predictions, targets) == 1.0
    assert accuracy(3, average="macro")(predictions, targets) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("make", "params"),
    [(resnet18, {"n_classes": 0}), (cross_entropy, {"label_smoothing": 1.5})],
)
def test_parameters_that_cannot_be_are_refused(make, params):
    with pytest.raises(ValueError, match=r"got"):
        make(**params)
