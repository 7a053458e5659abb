"""Learning-rate warm-up followed by a schedule, updated by step or by epoch."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from ddpkit.training.lr_schedule import LRSchedule


def optimizer(rate=1.0):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def test_a_linear_warm_up_is_followed_by_the_cosine():
    sgd = optimizer(rate=1.0)
    schedule = LRSchedule(sgd, CosineAnnealingLR(sgd, T_max=6), warmup=4, warmup_lr=0.2)

    rates = [schedule.rate()]
    for _ in range(10):
        sgd.step()
        schedule.end_step()
        schedule.end_epoch(1.0)  # ignored
        rates.append(schedule.rate())

    line = [0.2, 0.4, 0.6, 0.8, 1.0]
    cosine = [(1 + math.cos(math.pi * update / 6)) / 2 for update in range(1, 7)]
    assert rates == pytest.approx([*line, *cosine], abs=1e-12)


def test_an_epoch_schedule_ignores_steps():
    sgd = optimizer()
    schedule = LRSchedule(sgd, None, warmup=2, warmup_lr=0.0, by_step=False)

    schedule.end_step()
    assert schedule.rate() == 0.0
    schedule.end_epoch(1.0)
    assert schedule.rate() == 0.5


def test_without_a_scheduler_the_rate_is_constant():
    schedule = LRSchedule(optimizer(rate=0.3), None)

    schedule.end_step()
    assert schedule.rate() == 0.3
