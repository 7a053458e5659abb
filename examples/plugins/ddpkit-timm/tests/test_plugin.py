"""The plugin knows timm's names, and a config can train with its components."""

import io
import math
from pathlib import Path

import pytest
import timm
import torch
from ddpkit_timm import plugin
from ddpkit_timm.model import create
from ddpkit_timm.transform import AutoAugment, ModelNormalize, ModelResize
from PIL import Image
from timm import optim
from torchvision.tv_tensors import Mask

from ddpkit.testing import loaded, run_toml

EXAMPLE = Path(__file__).parents[1] / "example.toml"


def photo(mode="RGB"):
    return Image.effect_noise((60, 40), 50).convert(mode)


def test_the_plugin_declares_its_components():
    registry = loaded(timm="ddpkit_timm.plugin").registry

    assert {entry.kind for entry in registry} == {"optimizer", "lr_scheduler", "transform"}
    assert registry.get("model", "timm/resnet50.a1_in1k")


def test_the_names_are_those_of_timm():
    assert set(plugin.list_models()) == set(timm.list_models())


def test_a_model_has_the_channels_and_classes_of_the_run():
    model = create("resnet10t", n_channels=1, n_classes=7)

    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 7)


def test_an_unknown_tag_is_a_mistake_of_the_config():
    with pytest.raises(ValueError, match="nope"):
        create("resnet18.nope")
    with pytest.raises(ValueError, match="nope"):
        ModelResize("resnet18.nope")


@pytest.mark.parametrize("name", plugin.OPTIMIZERS)
def test_an_optimizer_continues_from_its_state(name):
    target = getattr(optim, plugin.OPTIMIZERS[name][0])
    images = torch.rand(8, 3, 8, 8)

    def steps(weights, optimizer, n):
        for _ in range(n):
            optimizer.zero_grad()
            torch.nn.functional.conv2d(images, weights).square().mean().backward()
            optimizer.step()

    weights = torch.nn.Parameter(torch.rand(4, 3, 3, 3))
    optimizer = target([weights], lr=0.01)
    steps(weights, optimizer, 2)
    copy = torch.nn.Parameter(weights.detach().clone())
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    resumed = target([copy], lr=0.01)
    resumed.load_state_dict(torch.load(io.BytesIO(file.getvalue())))
    steps(weights, optimizer, 3)
    steps(copy, resumed, 3)

    assert torch.equal(weights, copy)


def test_an_image_gets_the_size_and_scale_of_the_model():
    config = timm.models.get_pretrained_cfg("test_vit")
    image, mask = ModelResize("test_vit")(photo(), Mask(torch.ones(40, 60, dtype=torch.uint8)))

    assert image.size == config.input_size[1:]
    assert mask.shape == config.input_size[1:]
    mean = torch.tensor(config.mean).view(3, 1, 1).expand(3, 4, 4)
    assert ModelNormalize("test_vit")(mean, 0)[0].abs().max() == 0
    assert ModelNormalize("test_vit")(mean[:1], 0)[0].shape == (1, 4, 4)


@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc1", "original", "3a", "augmix-m3"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_policy_keeps_size_and_mode(policy, mode):
    image, target = AutoAugment(policy)(photo(mode), 5)

    assert (image.size, image.mode, target) == ((60, 40), mode, 5)


def test_a_policy_refuses_masks_and_unknown_names():
    with pytest.raises(ValueError, match="masks"):
        AutoAugment()(photo(), Mask(torch.zeros(40, 60)))
    with pytest.raises(ValueError, match="no-policy"):
        AutoAugment("no-policy")


@pytest.mark.parametrize(("name", "policy"), [("cosine", "epoch"), ("tanh", "step"), ("poly", "step")])
def test_a_schedule_has_the_length_of_the_run(name, policy, tmp_path):
    text = EXAMPLE.read_text(encoding="utf-8").replace("timm/cosine", f"timm/{name}")
    keys = {"update_policy": policy, "t_in_epochs": str(policy == "epoch").lower()}
    policies = [part for key, value in keys.items() for part in ("--set", f"train.lr_scheduler.{key}={value}")]

    outcome = run_toml(text, tmp_path, "--limit-batches", "2", "--set", "train.epoch=2", *policies).assert_done()

    assert outcome.history[0]["learning_rate"] > outcome.history[1]["learning_rate"]


def test_the_example_trains_on_two_ranks(tmp_path):
    outcome = run_toml(EXAMPLE.read_text(encoding="utf-8"), tmp_path, "--limit-batches", "2", nproc=2).assert_done()

    assert math.isfinite(outcome.history[-1]["train/loss"])
