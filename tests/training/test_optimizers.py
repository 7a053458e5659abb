"""Several optimizers, `[[train.optimizer]]`: each trains the parameters that it matches."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import ExponentialLR

from ddpkit.checkpoint import trainer_state
from ddpkit.checkpoint.run_metadata import RunMetadata
from ddpkit.config import loading
from ddpkit.distributed.world import World
from ddpkit.plugins import manager
from ddpkit.runs.screen.epoch_table import EpochTable
from ddpkit.training import builder
from tests.helpers.ranks import NoWeights, RowRecorder

HIDDEN = {"name": "hidden", "match": "1.*", "type": "sgd", "learning_rate": 0.1, "momentum": 0.9}
HEAD = {"name": "head", "type": "adamw", "learning_rate": 0.01}
OWN = {"type": "exponential", "gamma": 0.5, "update_policy": "step"}
SEVERAL = {
    "train.optimizer": [HIDDEN | {"grad_clip_norm": 0.05}, HEAD | {"lr_scheduler": OWN}],
    "train.lr_scheduler": {"type": "exponential", "gamma": 0.9},
    "train.scaler.compute_type": "float64",
}


def load(file, **overrides):
    return loading.load(file, loading.named_overrides(overrides))


def build_trainer(file, **overrides):
    return builder.build_trainer(load(file, **overrides), manager.load().registry, World())


def parameter_names(trainer, optimizer):
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    return [names[id(each)] for group in optimizer.param_groups for each in group["params"]]


def test_several_optimizers_match_a_handwritten_loop(blobs):
    trainer, rates = build_trainer(blobs, **SEVERAL), []
    model = copy.deepcopy(trainer.model).train()
    hidden, head = SGD(model[1].parameters(), 0.1, momentum=0.9), AdamW(model[4].parameters(), 0.01, fused=True)
    schedules = ExponentialLR(hidden, 0.9), ExponentialLR(head, 0.5)
    for epoch in range(2):
        for images, targets, _ in trainer.loader.epoch(epoch):
            nn.functional.cross_entropy(model(images.double()), targets).backward()
            nn.utils.clip_grad_norm_(model[1].parameters(), 0.05)
            rates[epoch:] = [
                {"learning_rate/hidden": hidden.param_groups[0]["lr"], "learning_rate/head": head.param_groups[0]["lr"]}
            ]
            for optimizer in (hidden, head):
                optimizer.step()
                optimizer.zero_grad()
            schedules[1].step()
        schedules[0].step()

    rows = RowRecorder()
    trainer.fit(NoWeights(), [rows])

    assert all(map(torch.equal, trainer.model.parameters(), model.parameters()))
    assert [{key: value for key, value in row.items() if "learning_rate" in key} for row in rows.seen] == rates


def test_a_parameter_belongs_to_the_first_optimizer_that_matches(blobs):
    tables = [HEAD | {"name": "a", "match": ["*.bias", "4.*"]}, HIDDEN | {"groups": [{"match": "1.*", "learning_rate": 0.5}]}]
    trainer = build_trainer(blobs, **{"train.optimizer": tables, "model.freeze": ["1.bias"]})

    first, second = (each.optimizer for each in trainer.optimizations)

    assert parameter_names(trainer, first) == ["4.weight", "4.bias"]
    assert parameter_names(trainer, second) == ["1.weight"]
    assert second.param_groups[0]["lr"] == 0.5


def test_each_optimizer_has_its_own_limit_of_the_gradient_norm(blobs):
    tables = [HIDDEN | {"learning_rate": 1.0, "grad_clip_norm": 0.02}, HEAD | {"type": "sgd", "learning_rate": 1.0}]
    trainer = build_trainer(blobs, **{"train.optimizer": tables, "train.grad_clip_norm": 0.01})
    before = copy.deepcopy(trainer.model)

    trainer.train_step(next(trainer.steps()))

    for layer, limit in ((1, 0.02), (4, 0.01)):
        pairs = zip(trainer.model[layer].parameters(), before[layer].parameters(), strict=True)
        moved = torch.cat([(new - old).flatten() for new, old in pairs])
        assert moved.norm().item() == pytest.approx(limit, rel=1e-4)


def test_a_limit_of_zero_switches_clipping_off_for_one_optimizer(blobs):
    trainer = build_trainer(blobs, **{"train.optimizer": [HIDDEN | {"grad_clip_norm": 0.0}, HEAD], "train.grad_clip_norm": 0.01})

    assert [each.max_norm for each in trainer.clippings] == [0.01]


def test_a_skipped_step_changes_no_optimizer_but_the_schedules(blobs):
    trainer = build_trainer(blobs, **SEVERAL, **{"train.on_nonfinite": "skip"})
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    (images, targets, shard), *_ = next(trainer.steps())
    trainer.model[4].weight.register_hook(lambda gradient: gradient * math.inf)

    assert trainer.train_step([(images, targets, shard)]).is_skipped

    assert all(map(torch.equal, trainer.model.parameters(), before))
    assert all(not each.optimizer.state for each in trainer.optimizations)
    assert trainer.lr_schedule.rate() == {"hidden": 0.1, "head": 0.005}


def test_an_optimizer_without_gradients_does_not_end_a_float16_run(blobs):
    unused = {"train.scaler.compute_type": "float16", "ddp.find_unused_parameters": True}
    trainer = build_trainer(blobs, **{"train.optimizer": [HIDDEN, HEAD], **unused})
    step = next(trainer.steps())
    for parameter in trainer.model[1].parameters():
        parameter.requires_grad = False
    before = copy.deepcopy(trainer.model)

    trainer.train_step(step)

    assert torch.equal(trainer.model[1].weight, before[1].weight)
    assert not torch.equal(trainer.model[4].weight, before[4].weight)


def test_the_state_of_a_single_optimizer_has_no_name(blobs):
    single = trainer_state.capture_state(build_trainer(blobs))
    named = trainer_state.capture_state(build_trainer(blobs, **SEVERAL))

    assert (list(single["optimizer"]), list(single["schedule"])) == (["state", "groups"], ["updates", "scheduler"])
    assert (list(named["optimizer"]), list(named["schedule"])) == (["hidden", "head"], ["hidden", "head"])
    assert isinstance(single["progress"]["learning_rate"], float)


@pytest.mark.parametrize(
    ("number", "key", "value", "rescheduled"),
    [
        (0, "learning_rate", 0.2, {"hidden"}),
        (0, "grad_clip_norm", 0.3, set()),
        (1, "lr_scheduler", OWN | {"gamma": 0.4}, {"head"}),
        (None, "train.lr_scheduler.gamma", 0.4, {"hidden"}),
        (None, "train.epoch", 3, {"hidden", "head"}),
        (None, "train.ema_decay", 0.5, set()),
    ],
)
def test_changed_options_affect_only_their_optimizer(blobs, number, key, value, rescheduled):
    before = {"config": loading.to_tables(load(blobs, **SEVERAL).run)}
    tables = copy.deepcopy(SEVERAL)
    if number is None:
        tables[key] = value
    else:
        tables["train.optimizer"][number][key] = value
    metadata = RunMetadata(config=load(blobs, **tables), plugins=[], environment={}, data={})

    assert metadata.rescheduled_optimizers(before) == rescheduled


def test_new_options_of_one_optimizer_apply_after_a_restore(blobs):
    first = build_trainer(blobs, **SEVERAL)
    first.train_epoch([])
    state = copy.deepcopy(trainer_state.capture_state(first))
    changed = {**SEVERAL, "train.optimizer": [HIDDEN | {"learning_rate": 0.7}, SEVERAL["train.optimizer"][1]]}
    second = build_trainer(blobs, **changed)

    trainer_state.restore_state(second, state, {"hidden"})

    assert second.lr_schedule.rate() == {"hidden": 0.7, "head": 0.01 * 0.5**4}
    assert all(each.optimizer.state for each in second.optimizations)


def test_the_epoch_table_has_a_column_for_each_learning_rate(blobs, caplog):
    caplog.set_level("INFO")
    trainer, rows = build_trainer(blobs, **SEVERAL, **{"train.epoch": 1}), RowRecorder()
    trainer.fit(NoWeights(), [rows])

    EpochTable(trainer).log_epoch({**rows.seen[0], "seconds": 1.0}, 0.0)

    header, row = (record.message.split() for record in caplog.records[-2:])
    assert " ".join(header).endswith("lr hidden lr head time time left")
    assert row[-6:-4] == ["0.1", "0.00125"]
