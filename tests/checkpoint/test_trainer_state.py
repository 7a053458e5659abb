"""A run that goes on from a snapshot ends with the bits of the run that was left alone."""

import copy
import json

import pytest
import torch
from torch import nn

from ddpkit.checkpoint import trainer_state
from ddpkit.checkpoint.trainer_state import load_named_state, named_state
from ddpkit.config import loading
from ddpkit.distributed.world import World
from ddpkit.plugins import manager
from ddpkit.training import builder
from ddpkit.training.callbacks import Recovery
from tests.helpers.ranks import Nowhere, Rows

CASES = {
    "adam, dropout, augmentation": {},
    "loader workers": {"dataloader.num_workers": 2},
    "adamw in bfloat16 with an average and a schedule by step": {
        "train.optimizer": {"type": "adamw", "learning_rate": 0.01},
        "train.scaler.compute_type": "bfloat16",
        "train.ema_decay": 0.9,
        "train.lr_scheduler": {"type": "cosine", "warmup": 0.5, "update_policy": "step"},
    },
    "float16, momentum, accumulation, schedule by epoch": {
        "train.optimizer": {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9},
        "train.scaler.compute_type": "float16",
        "train.grad_accumulation_steps": 3,
        "train.batch_size": 6,
        "train.lr_scheduler": {"type": "plateau", "warmup": 1, "warmup_lr": 0.001},
        "train.early_stopping": {"patience": 1},
    },
    "groups, no decay on biases, one_cycle": {
        "train.optimizer.groups": [{"match": "4.*", "learning_rate": 0.002}],
        "train.optimizer.decay_norm_and_bias": False,
        "train.lr_scheduler": {"type": "one_cycle", "update_policy": "step"},
        "output.monitor": "accuracy",
    },
}


class Album(Recovery):
    """Keeps a snapshot of each step, evaluated micro-batch and epoch, with the rows of history so far."""

    def __init__(self, rows):
        self.rows, self.kept = rows, []

    def step_ended(self, engine):
        self.kept.append(copy.deepcopy((trainer_state.taken(engine), self.rows.seen)))

    epoch_ended = batch_evaluated = step_ended


def built(file, overrides):
    return builder.engine(loading.load(file, loading.named_overrides(overrides)), manager.load().registry, World())


def fitted(engine, rows):
    engine.fit(Nowhere(), [rows])
    return {"rows": rows.seen, "state": trainer_state.taken(engine)}


def assert_same(mine, theirs, path="state"):
    """Bit for bit."""
    if isinstance(mine, torch.Tensor):
        assert torch.equal(mine, theirs), path
    elif isinstance(mine, dict):
        assert mine.keys() == theirs.keys(), path
        for key, value in mine.items():
            assert_same(value, theirs[key], f"{path}.{key}")
    elif isinstance(mine, list):
        for number, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            assert_same(one, other, f"{path}[{number}]")
    else:
        assert repr(mine) == repr(theirs), path  # NaN is NaN


@pytest.mark.parametrize("case", CASES)
def test_every_step_is_a_place_to_go_on_from(digits, case):
    engine = built(digits, CASES[case])
    rows = Rows()
    engine.recovery = album = Album(rows)
    whole = fitted(engine, rows)
    assert len(album.kept) >= 8

    for state, seen in album.kept:
        again, rows = built(digits, CASES[case]), Rows()
        rows.seen = copy.deepcopy(seen)
        trainer_state.put_back(again, state)
        assert_same(fitted(again, rows), whole)


def test_a_snapshot_of_another_optimizer_is_refused(digits):
    state = trainer_state.taken(built(digits, CASES["groups, no decay on biases, one_cycle"]))
    other = {"train.optimizer.groups": [{"match": "1.*", "learning_rate": 0.002}], "train.optimizer.decay_norm_and_bias": False}

    with pytest.raises(ValueError, match=r"group 0 of the optimizer had other parameters: 1\.weight, 4\.weight"):
        trainer_state.put_back(built(digits, other), state)


def test_parameters_find_what_the_optimizer_kept_of_them_in_any_order():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    first, again = (torch.optim.Adam(parameters) for parameters in (model.parameters(), [*model.parameters()][::-1]))
    model(torch.ones(1, 2)).sum().backward()
    first.step()

    load_named_state(again, model, named_state(first, model))

    for name, parameter in model.named_parameters():
        assert_same(again.state[parameter], first.state[parameter], name)


def test_a_snapshot_holds_tensors_and_plain_data_alone(digits):
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        return str(value.dtype) if isinstance(value, torch.Tensor) else value

    for overrides in CASES.values():
        assert json.loads(json.dumps(plain(trainer_state.taken(built(digits, overrides)))))
