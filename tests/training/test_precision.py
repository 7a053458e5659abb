"""What an optimizer step does with gradients that are not finite."""

import math

import pytest
import torch
from torch.amp import GradScaler
from torch.optim import SGD, AdamW

from ddpkit.training.gradients import Clipping
from ddpkit.training.lr_schedule import LRSchedule
from ddpkit.training.optimization import JoinedOptimizer, Optimization
from ddpkit.training.precision import Precision


def test_a_skipped_step_keeps_the_weights_if_the_norm_overflows():
    precision = Precision(torch.float32, "cpu", torch.float16, scaler=GradScaler("cpu", init_scale=1.0))
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = SGD([weight], lr=0.1)
    precision.scaler.scale(torch.tensor(1.0))  # creates the scale
    weight.grad = torch.full((2,), 3e38)

    counts = precision.step(optimizer, [Clipping([weight], math.inf)], skip_nonfinite=True)

    assert not counts
    assert torch.equal(weight, torch.ones(2))


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize("scaler", [None, GradScaler("cpu", init_scale=4.0)])
def test_a_gradient_overflow_skips_the_step_of_all_optimizers(scaler, broken):
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizers = [SGD(weights[:1], lr=0.1), AdamW(weights[1:], lr=0.1, fused=True)]
    parts = [Optimization(name=str(n), optimizer=each, lr_schedule=LRSchedule(each, None)) for n, each in enumerate(optimizers)]
    precision, joined = Precision(torch.float32, scaler=scaler), JoinedOptimizer(parts)
    clippings = [] if scaler else [Clipping([each], math.inf) for each in weights]

    def step(*values):
        precision.backward(sum((weight * value).sum() for weight, value in zip(weights, values, strict=True)))
        precision.step(joined, clippings, skip_nonfinite=not scaler)
        joined.zero_grad()
        return [weight.tolist() == [1.0, 1.0] for weight in weights]

    assert step(*(math.inf if number == broken else 1.0 for number in range(2))) == [True, True]
    assert scaler is None or scaler.get_scale() < 4.0
    assert step(1.0, 1.0) == [False, False]
