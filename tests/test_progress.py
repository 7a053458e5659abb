"""What was best, whatever the losses are."""

import math

import pytest

from ddpkit.progress import Progress


@pytest.mark.parametrize(
    ("losses", "best_epochs"),
    [
        ([3.0, 2.0, 2.5, 1.0], [1, 2, 4]),
        ([1.0, 1.0], [1]),
        ([math.nan, 2.0, math.nan, 1.0], [1, 2, 4]),
        ([math.inf, math.inf], [1]),
    ],
)
def test_the_first_and_every_lower_loss_is_best(losses, best_epochs):
    progress = Progress()

    assert [epoch for epoch, loss in enumerate(losses, start=1) if progress.epoch_ended(loss)] == best_epochs
    assert (progress.epoch, progress.best_epoch) == (len(losses), best_epochs[-1])
