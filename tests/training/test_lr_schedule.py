"""Warm-up, then the named schedule, by step or by epoch."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from ddpkit.training.lr_schedule import Schedule


def optimizer(rate=1.0):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def test_warm_up_rises_in_a_line_and_the_cosine_falls_to_its_end():
    sgd = optimizer(rate=1.0)
    schedule = Schedule(sgd, CosineAnnealingLR(sgd, T_max=6), warmup=4, warmup_lr=0.2)

    rates = [schedule.rate()]
    for _ in range(10):
        sgd.step()
        schedule.step_ended()
        schedule.epoch_ended(1.0)  # passed over
        rates.append(schedule.rate())

    line = [0.2, 0.4, 0.6, 0.8, 1.0]
    cosine = [(1 + math.cos(math.pi * update / 6)) / 2 for update in range(1, 7)]
    assert rates == pytest.approx([*line, *cosine], abs=1e-12)


def test_by_epoch_steps_are_passed_over():
    sgd = optimizer()
    schedule = Schedule(sgd, None, warmup=2, warmup_lr=0.0, by_step=False)

    schedule.step_ended()
    assert schedule.rate() == 0.0
    schedule.epoch_ended(1.0)
    assert schedule.rate() == 0.5


def test_no_scheduler_keeps_the_rate():
    schedule = Schedule(optimizer(rate=0.3), None)

    schedule.step_ended()
    assert schedule.rate() == 0.3
