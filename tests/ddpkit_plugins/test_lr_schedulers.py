"""Each schedule matches its closed form."""

import math

import pytest
import torch

from ddpkit.training.lr_schedule import LRSchedule
from ddpkit_plugins import lr_schedulers

T = 12
RATES = (1.0, 0.2)


def record_rates(make, losses=None, **params):
    """The learning rates of both groups at each of T updates."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in RATES]
    sgd = torch.optim.SGD(groups, lr=0.1)
    takes_total = {"total_steps": T} if "total_steps" in make.__annotations__ else {}
    schedule = LRSchedule(sgd, make(optimizer=sgd, **takes_total, **params), by_step=False)
    seen = [[group["lr"] for group in sgd.param_groups]]
    for update in range(T):
        sgd.step()
        schedule.end_epoch(losses[update] if losses else 1.0)
        seen.append([group["lr"] for group in sgd.param_groups])
    return seen


def one_cycle(t, rate, rise=0.3):
    """Rises to the rate until update `rise * (T + 1) - 1`, as torch counts them, then falls."""
    low, top, bottom = rate / 25, rise * (T + 1) - 1, rate / 25 / 1e4
    start, end, share = (low, rate, t / top) if t <= top else (rate, bottom, (t - top) / (T - top))
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


FORMS = {
    "cosine": ({}, lambda t, rate: rate * (1 + math.cos(math.pi * t / T)) / 2),
    "cosine to a rate": ({"min_lr": 0.1}, lambda t, rate: 0.1 + (rate - 0.1) * (1 + math.cos(math.pi * t / T)) / 2),
    "linear": ({}, lambda t, rate: rate * (1 - t / T)),
    "linear to a rate": ({"min_lr": 0.1}, lambda t, rate: rate + (0.1 - rate) * t / T),
    "step": ({}, lambda t, rate: rate * 0.1 ** (t // (T // 3))),
    "step of a size": ({"step_size": 5, "gamma": 0.5}, lambda t, rate: rate * 0.5 ** (t // 5)),
    "multistep": ({"milestones": [2, 9]}, lambda t, rate: rate * 0.1 ** ((t >= 2) + (t >= 9))),
    "exponential": ({"gamma": 0.9}, lambda t, rate: rate * 0.9**t),
    "constant": ({}, lambda t, rate: rate),
    "one_cycle": ({}, one_cycle),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_schedule_matches_its_closed_form(form):
    params, rate_at = FORMS[form]

    seen = record_rates(getattr(lr_schedulers, form.partition(" ")[0]), **params)

    for t, rates in enumerate(seen):
        assert rates == pytest.approx([rate_at(t, rate) for rate in RATES], rel=1e-9, abs=1e-12), t


def test_plateau_lowers_the_rate_without_improvement():
    losses = [1.0, 0.5, 0.5, 0.5, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]

    seen = [rates[0] for rates in record_rates(lr_schedulers.plateau, losses, patience=2, factor=0.5)]

    falls = [update for update in range(1, T + 1) if seen[update] < seen[update - 1]]
    assert falls == [5, 9, 12]  # each after three epochs that were no better
    assert seen[-1] == pytest.approx(0.5**3)


@pytest.mark.parametrize(
    ("name", "params"),
    [("step", {"step_size": 0}), ("multistep", {"milestones": [3, 2]}), ("multistep", {"milestones": []}), ("exponential", {"gamma": 0.0}),
     ("plateau", {"factor": 1.5}), ("one_cycle", {"rise": 1.0})],
)  # fmt: skip
def test_invalid_parameters_are_rejected(name, params):
    with pytest.raises(ValueError, match="got"):
        record_rates(getattr(lr_schedulers, name), **params)
