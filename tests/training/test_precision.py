"""What an optimizer step does with gradients that are not finite."""

import torch
from torch.amp import GradScaler
from torch.optim import SGD

from ddpkit.training.precision import Precision


def test_a_skipped_step_keeps_the_weights_if_the_norm_overflows():
    precision = Precision(torch.float32, "cpu", torch.float16, scaler=GradScaler("cpu", init_scale=1.0))
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = SGD([weight], lr=0.1)
    precision.scaler.scale(torch.tensor(1.0))  # creates the scale
    weight.grad = torch.full((2,), 3e38)

    counts = precision.step(optimizer, [weight], 0.0, skip_nonfinite=True)

    assert not counts
    assert torch.equal(weight, torch.ones(2))
