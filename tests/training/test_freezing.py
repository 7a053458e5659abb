"""Parameters of `model.freeze` are trained from an epoch on; before, neither they nor their optimizer state change."""

import copy
import itertools
import logging

import pytest
import torch

from ddpkit.checkpoint import trainer_state
from ddpkit.cli.main import main
from ddpkit.config import diff, loading
from ddpkit.distributed.world import World
from ddpkit.errors import ConfigError
from ddpkit.plugins import manager
from ddpkit.training import builder
from ddpkit.training.callbacks import CheckpointCallback
from tests.helpers.configs import BLOBS
from tests.helpers.ranks import NoWeights, StateRecorder, fit

UNTIL = {"model.freeze": [{"match": "1.*", "until": 2}, {"match": "2.*", "until": 1}], "train.epoch": 4}
"""The linear layer of `normnet` is trained from epoch 3 on, its BatchNorm from epoch 2 on, and its head always."""
PERMANENT = {"model.freeze": ["1.*"], "train.epoch": 2}
ADAMW = {"type": "adamw", "learning_rate": 0.01, "weight_decay": 0.1}
SGD = {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}
CASES = {
    "sgd with momentum, clipping": {"train.optimizer": SGD, "train.grad_clip_norm": 0.05},
    "momentum of a group": {
        "train.optimizer": {"type": "sgd", "learning_rate": 0.1, "groups": [{"match": "*", "momentum": 0.9}]}
    },
    "fused adamw, accumulation, ema": {"train.optimizer": ADAMW, "train.grad_accumulation_steps": 3, "train.ema_decay": 0.9},
    "virtual shards, no decay on biases": {
        "train.optimizer": {**ADAMW, "decay_norm_and_bias": False},
        "ddp.virtual_shards": 2,
        "train.lr_scheduler": {"type": "cosine", "warmup": 1, "update_policy": "step"},
    },
    "rmsprop, skipped steps": {
        "train.optimizer": {"type": "rmsprop", "learning_rate": 0.01, "momentum": 0.5},
        "train.on_nonfinite": "skip",
    },
}


@pytest.fixture
def norms(blobs):
    """Config of a model with BatchNorm."""
    blobs.write_text(BLOBS.replace("tinynet", "normnet"))
    return blobs


def build(file, **overrides):
    return builder.build_trainer(loading.load(file, loading.named_overrides(overrides)), manager.load().registry, World())


class EpochRecorder(CheckpointCallback):
    """Callback that records a copy of the state after each epoch."""

    def __init__(self, trainer):
        self.states = [copy.deepcopy(trainer_state.capture_state(trainer))]

    def on_epoch_end(self, trainer):
        self.states.append(copy.deepcopy(trainer_state.capture_state(trainer)))


def fit_by_epoch(trainer):
    """Return the state before the first epoch, and after each epoch."""
    trainer.checkpointer = recorder = EpochRecorder(trainer)
    trainer.fit(NoWeights(), [])
    return recorder.states


def changed(before, after):
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


LINEAR, HEAD = {"1.weight", "1.bias"}, {"4.weight", "4.bias"}
NORM = {"2.weight", "2.bias", "2.running_mean", "2.running_var", "2.num_batches_tracked"}


@pytest.mark.parametrize("case", CASES)
def test_a_parameter_changes_only_after_its_last_frozen_epoch(norms, case):
    states = fit_by_epoch(build(norms, **UNTIL, **CASES[case]))

    models = [state["model"] for state in states]
    averages = [state["average"]["model"] for state in states if state["average"]]
    for each in filter(None, [models, averages]):
        moved = [changed(*pair) for pair in itertools.pairwise(each)]
        assert moved == [HEAD, HEAD | NORM, HEAD | NORM | LINEAR, HEAD | NORM | LINEAR]
    owners = [state["optimizer"]["state"].keys() for state in states]
    trained = [{name for name in HEAD | NORM | LINEAR if "." in name and "running" not in name and "num" not in name}]
    assert owners[1:] == [HEAD, trained[0] - LINEAR, trained[0], trained[0]]


@pytest.mark.parametrize("case", CASES)
def test_a_frozen_phase_equals_a_run_with_the_layers_frozen(norms, case):
    unfrozen = fit(norms, World(), **{"model.freeze": [{"match": "1.*", "until": 2}], "train.epoch": 2}, **CASES[case])
    frozen = fit(norms, World(), **PERMANENT, **CASES[case])

    assert repr(unfrozen["rows"]) == repr(frozen["rows"])
    assert changed(unfrozen["weights"], frozen["weights"]) == set()


def test_a_run_resumed_at_any_step_ends_bit_identical(norms):
    overrides = {"model.freeze": UNTIL["model.freeze"], "train.epoch": 3, "train.optimizer": ADAMW, "train.ema_decay": 0.9}
    trainer = build(norms, **overrides)
    trainer.checkpointer = recorder = StateRecorder()
    trainer.fit(NoWeights(), [])

    assert len(recorder.states) > 12
    for state in recorder.states:
        again = build(norms, **overrides)
        trainer_state.restore_state(again, state)
        again.fit(NoWeights(), [])
        for one, other in zip(trainer.evaluator.models, again.evaluator.models, strict=True):
            assert changed(one.model.state_dict(), other.model.state_dict()) == set()


def test_an_entry_without_until_wins(norms):
    states = fit_by_epoch(build(norms, **{"model.freeze": ["1.weight", *UNTIL["model.freeze"]], "train.epoch": 3}))

    assert changed(states[-2]["model"], states[-1]["model"]) == HEAD | NORM | {"1.bias"}


def test_the_log_says_when_parameters_are_unfrozen(norms, caplog):
    trainer = build(norms, **UNTIL)
    with caplog.at_level(logging.INFO):
        fit_by_epoch(trainer)

    assert [text for text in caplog.messages if "are trained from" in text] == [
        "epoch 2: 32 parameters (2.*) are trained from here on",
        "epoch 3: 1040 parameters (1.*) are trained from here on",
    ]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([{"match": "*", "until": 1}], "model.freeze: leaves no parameter to train in the first epochs; remove a pattern"),
        (["1.*", {"match": "1.bias", "until": 2}], "model.freeze[1]: has no effect, because the model or another entry freezes"),
        ([{"match": "2.*", "until": 1}, {"match": "2.*", "until": 3}], "model.freeze[0]: has no effect, because the model or"),
    ],
)
def test_an_entry_that_cannot_work_is_an_error(norms, patterns, message):
    with pytest.raises(ConfigError) as caught:
        build(norms, **{"model.freeze": patterns, "train.epoch": 5})

    assert message in str(caught.value)


def test_the_sanity_check_finds_mistakes_of_later_epochs(blobs, caplog):
    build(blobs, **{"model.name": "forgetful", "model.freeze": [{"match": "spare.*", "until": 1}]})
    assert "2 trained parameters get no gradient (spare.weight from epoch 2 on, spare.bias from epoch 2 on)" in caplog.text

    single = {"train.batch_size": 1, "model.name": "normnet", "model.freeze": [{"match": "2.*", "until": 1}]}
    with pytest.raises(ConfigError, match="a rank would get a single sample"):
        build(blobs, **single)


def test_a_hook_cannot_unfreeze_a_layer_early(norms):
    trainer = build(norms, **UNTIL)
    trainer.model.get_parameter("1.weight").requires_grad = True

    states = fit_by_epoch(trainer)

    assert changed(states[0]["model"], states[2]["model"]) == HEAD | NORM


def test_patterns_recorded_by_older_versions_are_no_change(blobs):
    config = loading.load(blobs, loading.named_overrides({"model.freeze": ["1.*", {"match": "4.bias"}]}))
    saved = loading.to_tables(config.run)
    saved["model"]["freeze"] = ["1.*", "4.bias"]

    assert diff.find_changes(saved, config) == []
    saved["model"]["freeze"] = ["2.*", "4.bias"]
    assert [str(change) for change in diff.find_changes(saved, config)] == ['model.freeze[0].match is "1.*", but was "2.*"']


def test_settings_without_an_effect_are_reported(norms, capsys):
    options = ["--set", "model.freeze=[{match='1.*', until=2}]"]

    assert main(["check", norms.name, *options]) == 0
    message = "the parameters are never trained, because the run has 2 epochs; use a smaller value"
    assert f"warning: --set 1: model.freeze[0].until: {message}" in capsys.readouterr().out

    assert main(["check", norms.name, *options, "--set", "train.optimizer.fused=true"]) == 2
    assert "--set 2: train.optimizer.fused: cannot be used with 'momentum' if" in capsys.readouterr().err
