"""An optimizer may get the model in addition to its parameters, or in place of them."""

import pytest

from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.config.plugin_policy import combine_policy
from ddpkit.distributed.world import World
from ddpkit.errors import ConfigError
from ddpkit.plugins import manager
from ddpkit.training import builder
from tests.helpers.configs import BLOBS

OPTIMIZERS = """
from torch.optim import SGD

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_optimizers():
    for name in ("layerwise", "forgetful", "both"):
        yield Component(name, f"{__name__}:{name}")


def layerwise(model, lr: float, decay: float = 0.5):
    layers = [layer for layer in model if any(each.requires_grad for each in layer.parameters())]
    return SGD([{"params": [*layer.parameters()], "lr": lr * decay**depth} for depth, layer in enumerate(reversed(layers))])


def forgetful(model, lr: float):
    return SGD([model[1].weight], lr)


def both(params, model, lr: float):
    return SGD([{**group, "momentum": len(model) / 10} for group in params], lr)
"""


@pytest.fixture(scope="module")
def plugin_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("plugin") / "optimizers_by_layer.py"
    file.write_text(OPTIMIZERS)
    return file


@pytest.fixture
def with_optimizers(blobs, plugin_file):
    """Config of a model with BatchNorm, and with a plugin file of optimizers that get the model."""
    blobs.write_text(BLOBS.replace("tinynet", "normnet") + f'[plugins]\nfiles = ["{plugin_file}"]\n')
    return blobs


def build(file, name, **overrides):
    config = loading.load(file, loading.named_overrides({"train.optimizer": {"type": name, "learning_rate": 0.4}, **overrides}))
    return builder.build_trainer(config, manager.load(combine_policy(config.run.plugins)).registry, World())


def test_an_optimizer_sets_learning_rates_by_layer(with_optimizers):
    freeze = [{"match": "1.*", "until": 1}]
    trainer = build(with_optimizers, "layerwise", **{"train.lr_scheduler": "cosine", "model.freeze": freeze})
    first = [group["lr"] for group in trainer.optimizer.param_groups]

    trainer.train_epoch([])
    trainer.end_epoch({"train/loss": 0.0})

    assert first == [0.4, 0.2, 0.1]
    assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([0.2, 0.1, 0.05])


def test_an_optimizer_that_lacks_parameters_is_an_error(with_optimizers):
    with pytest.raises(ConfigError) as caught:
        build(with_optimizers, "forgetful")

    assert "train.optimizer.type: 5 trained parameters are in none of the groups that it builds (1.bias, 2.weight, " in str(
        caught.value
    )
    build(with_optimizers, "forgetful", **{"model.freeze": ["1.bias", "2.*", "4.*"]})


def test_an_optimizer_may_get_groups_and_model(with_optimizers):
    groups = [{"match": "4.*", "learning_rate": 0.1}]
    trainer = build(with_optimizers, "both", **{"train.optimizer.groups": groups})

    assert [(group["lr"], group["momentum"]) for group in trainer.optimizer.param_groups] == [(0.4, 0.5), (0.1, 0.5)]


def test_groups_that_an_optimizer_builds_are_not_in_the_toml(with_optimizers, capsys):
    optimizer = 'train.optimizer={type="layerwise", groups=[{match="4.*"}], decay_norm_and_bias=false}'

    assert main(["check", with_optimizers.name, "--set", optimizer]) == 2

    message = "optimizer 'layerwise' builds the groups of parameters itself; remove this key"
    assert capsys.readouterr().err.splitlines() == [
        f"--set 1: train.optimizer.groups: {message}",
        f"--set 1: train.optimizer.decay_norm_and_bias: {message}",
    ]


def test_an_optimizer_must_not_take_parameters_of_another(with_optimizers):
    parts = [{"name": "first", "match": "1.*", "type": "layerwise", "learning_rate": 0.1}, {"name": "rest", "type": "sgd"}]
    config = loading.load(with_optimizers, loading.named_overrides({"train.optimizer": parts}))

    with pytest.raises(ConfigError) as caught:
        builder.build_trainer(config, manager.load(combine_policy(config.run.plugins)).registry, World())

    message = "train.optimizer[0].type: it has 4 parameters of other optimizers (2.weight, 2.bias, 4.weight and 1 more)"
    assert message in str(caught.value)


def test_several_optimizers_have_parameters_that_are_unfrozen_later(with_optimizers):
    parts = [{"name": "first", "match": "1.*", "type": "sgd"}, {"name": "rest", "type": "adamw", "learning_rate": 0.01}]
    overrides = {"train.optimizer": parts, "model.freeze": [{"match": "1.*", "until": 1}]}
    config = loading.load(with_optimizers, loading.named_overrides(overrides))
    trainer = builder.build_trainer(config, manager.load(combine_policy(config.run.plugins)).registry, World())
    before = trainer.model[1].weight.clone()

    changed = []
    for _ in range(2):
        trainer.train_epoch([])
        trainer.end_epoch({"train/loss": 0.0})
        changed.append(not before.equal(trainer.model[1].weight))

    assert changed == [False, True]
