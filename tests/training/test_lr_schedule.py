"""Learning-rate warm-up followed by a schedule, updated by step or by epoch."""

import math

import pytest
import torch
from timm.scheduler import CosineLRScheduler, PlateauLRScheduler
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from ddpkit.training.lr_schedule import LRSchedule
from ddpkit.training.scheduler_step import find_counting_step


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


def timm_schedule(*, by_step, **options):
    """Optimizer, and a schedule with a warm-up of two updates and timm's cosine of four."""
    sgd = optimizer(rate=1.0)
    scheduler = CosineLRScheduler(sgd, t_initial=4, t_in_epochs=not by_step, **options)
    step = find_counting_step(scheduler, by_step=by_step)
    return sgd, LRSchedule(sgd, scheduler, step, warmup=2, warmup_lr=0.2, by_step=by_step)


@pytest.mark.parametrize("by_step", [True, False])
def test_a_scheduler_of_timm_counts_updates_after_the_warm_up(by_step):
    sgd, schedule = timm_schedule(by_step=by_step)

    rates = [schedule.rate()]
    for _ in range(6):
        sgd.step()
        schedule.end_step()
        schedule.end_epoch(math.nan)
        rates.append(schedule.rate())

    assert rates == pytest.approx([0.2, 0.6, 1.0, *[(1 + math.cos(math.pi * t / 4)) / 2 for t in (1, 2, 3)], 0.0], abs=1e-12)


def test_a_scheduler_of_timm_continues_from_its_state():
    sgd, whole = timm_schedule(by_step=True, noise_range_t=[1, 9])
    for _ in range(3):
        whole.end_step()
    other, resumed = timm_schedule(by_step=True, noise_range_t=[1, 9])
    other.load_state_dict(sgd.state_dict())
    resumed.load_state_dict(whole.state_dict())
    _, replayed = timm_schedule(by_step=True, noise_range_t=[1, 9])
    replayed.replay(3, [])

    rates = []
    for schedule in (whole, resumed, replayed):
        schedule.end_step()
        rates.append(schedule.rate())
    assert rates[0] == rates[1] == rates[2]


class Steps:
    """Scheduler whose methods have other parameters than torch's."""

    def step(self, epoch, loss):
        pass

    def step_update(self, num_updates=0):
        pass


class Epochs:
    def step(self, epoch):
        pass


@pytest.mark.filterwarnings("ignore:PlateauLRScheduler is deprecated")
@pytest.mark.parametrize(
    ("make", "by_step", "message"),
    [
        (
            lambda sgd: CosineLRScheduler(sgd, 4),
            True,
            "t_in_epochs=True, so update_policy = 'step' would not change the learning",
        ),
        (lambda sgd: CosineLRScheduler(sgd, 4, t_in_epochs=False), False, "set update_policy = 'step', or pass t_in_epochs=True"),
        (PlateauLRScheduler, False, "a resumed run would differ; use the schedule 'plateau'"),
        (lambda _: Steps(), False, "its method 'step' requires other arguments than one number"),
        (lambda _: Epochs(), True, "set update_policy = 'epoch', or add step_update"),
    ],
)
def test_a_scheduler_that_cannot_be_updated_is_refused(make, by_step, message):
    with pytest.raises(ValueError, match=message):
        find_counting_step(make(optimizer()), by_step=by_step)


def test_a_scheduler_of_torch_needs_no_number():
    sgd = optimizer()

    for scheduler in (CosineAnnealingLR(sgd, 4), ReduceLROnPlateau(sgd)):
        assert find_counting_step(scheduler, by_step=False) is None
