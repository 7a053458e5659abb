"""A run resumed from a snapshot is bit-identical to an uninterrupted run."""

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
from ddpkit.training.callbacks import CheckpointCallback
from tests.helpers.ranks import NoWeights, RowRecorder

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
    "several optimizers, float16, plateau, schedule by step": {
        "train.optimizer": [
            {"name": "hidden", "match": "1.*", "type": "sgd", "learning_rate": 0.05, "momentum": 0.9, "lr_scheduler": "plateau"},
            {"name": "rest", "type": "adamw", "learning_rate": 0.01, "grad_clip_norm": 0.1},
        ],
        "train.scaler.compute_type": "float16",
        "train.lr_scheduler": {"type": "cosine", "warmup": 0.5, "update_policy": "step"},
    },
}


class SnapshotRecorder(CheckpointCallback):
    """Records a snapshot after each step, evaluated micro-batch and epoch, with the rows of history so far."""

    def __init__(self, rows):
        self.rows, self.kept = rows, []

    def on_step_end(self, trainer):
        self.kept.append(copy.deepcopy((trainer_state.capture_state(trainer), self.rows.seen)))

    on_epoch_end = on_eval_batch_end = on_step_end


def build_trainer(file, overrides):
    return builder.build_trainer(loading.load(file, loading.named_overrides(overrides)), manager.load().registry, World())


def fit_trainer(trainer, rows):
    trainer.fit(NoWeights(), [rows])
    return {"rows": rows.seen, "state": trainer_state.capture_state(trainer)}


def assert_same(mine, theirs, path="state"):
    """Both are bit-identical."""
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
def test_resuming_from_any_step_is_bit_identical(digits, case):
    trainer = build_trainer(digits, CASES[case])
    rows = RowRecorder()
    trainer.checkpointer = recorder = SnapshotRecorder(rows)
    whole = fit_trainer(trainer, rows)
    assert len(recorder.kept) >= 8

    for state, seen in recorder.kept:
        resumed, rows = build_trainer(digits, CASES[case]), RowRecorder()
        rows.seen = copy.deepcopy(seen)
        trainer_state.restore_state(resumed, state)
        assert_same(fit_trainer(resumed, rows), whole)


def test_a_snapshot_with_other_parameter_groups_is_rejected(digits):
    state = trainer_state.capture_state(build_trainer(digits, CASES["groups, no decay on biases, one_cycle"]))
    other = {"train.optimizer.groups": [{"match": "1.*", "learning_rate": 0.002}], "train.optimizer.decay_norm_and_bias": False}

    with pytest.raises(ValueError, match=r"group 0 .* has different parameters than in the checkpoint: 1\.weight, 4\.weight"):
        trainer_state.restore_state(build_trainer(digits, other), state)


def test_optimizer_state_is_matched_by_parameter_name():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    first, second = (torch.optim.Adam(parameters) for parameters in (model.parameters(), [*model.parameters()][::-1]))
    model(torch.ones(1, 2)).sum().backward()
    first.step()

    load_named_state(second, model, named_state(first, model))

    for name, parameter in model.named_parameters():
        assert_same(second.state[parameter], first.state[parameter], name)


def test_a_snapshot_holds_only_tensors_and_plain_data(digits):
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        return str(value.dtype) if isinstance(value, torch.Tensor) else value

    for overrides in CASES.values():
        assert json.loads(json.dumps(plain(trainer_state.capture_state(build_trainer(digits, overrides)))))
