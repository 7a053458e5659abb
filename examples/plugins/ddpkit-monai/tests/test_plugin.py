"""The models, losses and metrics fit ddpkit's masks, and a config can train with them."""

import math
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from ddpkit_monai import loss, metric, plugin
from ddpkit_monai.model import basic_unet_plus_plus
from monai.networks import nets

from ddpkit.testing import loaded, run_toml

EXAMPLE = Path(__file__).parents[1] / "example.toml"
LEVELS = {"channels": [4, 8, 16], "strides": [2, 2]}
KERNELS = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
OPTIONS = {
    "unet": LEVELS,
    "attention_unet": LEVELS,
    "dynunet": KERNELS,
    "flexible_unet": {"backbone": "resnet18"},
    "unetr": {"img_size": 32, "hidden_size": 24, "num_heads": 2, "mlp_dim": 32},
    "swin_unetr": {"feature_size": 12},
}
MODELS = {**plugin.MODELS, **(plugin.TRANSFORMERS if find_spec("einops") else {})}


def batch(n_classes):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, n_classes, 8, 8, generator=generator).requires_grad_()
    return outputs, torch.randint(0, max(n_classes, 2), (3, 8, 8), generator=generator, dtype=torch.uint8)


def square(left, value=1):
    mask = torch.zeros(1, 8, 8, dtype=torch.uint8)
    mask[:, 2:5, left : left + 3] = value
    return mask


def test_the_plugin_declares_its_components():
    registry = loaded(monai="ddpkit_monai.plugin").registry

    assert {entry.kind for entry in registry} == {"model", "criterion", "metric"}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_gives_logits_of_the_size_of_the_image(name):
    options = {"in_channels": 1, "out_channels": 3, **OPTIONS.get(name, {})}
    target = MODELS[name][0]
    if target.startswith("ddpkit"):
        model = basic_unet_plus_plus(**options, features=[4, 4, 8, 8, 8, 4])
    else:
        model = getattr(nets, target.partition(":")[2])(spatial_dims=2, **options)

    size = 32 if name == "unetr" else 64
    assert model(torch.rand(2, 1, size, size)).shape == (2, 3, size, size)


@pytest.mark.parametrize("n_classes", [1, 2, 4])
@pytest.mark.parametrize("name", plugin.LOSSES)
def test_a_loss_is_a_mean_over_the_images(name, n_classes):
    criterion = getattr(loss, name)(n_classes=n_classes)
    outputs, masks = batch(n_classes)

    value = criterion(outputs, masks)
    value.backward()

    single = [criterion(outputs[[i]], masks[[i]]) for i in range(3)]
    assert torch.allclose(value, torch.stack(single).mean())
    assert outputs.grad.isfinite().all()
    assert outputs.grad.abs().sum() > 0


def test_distances_are_in_pixels():
    labels, masks = square(left=2), square(left=4)

    values = {name: float(value_of(name, labels, masks)["mean"]) for name in plugin.METRICS}

    assert values["hausdorff"] == 2
    assert values["dice"] == pytest.approx(1 / 3)
    assert values["iou"] == pytest.approx(1 / 5)
    assert 0 < values["surface_distance"] < 2
    assert 0 < values["surface_dice"] < 1


def value_of(name, labels, masks, n_classes=2):
    measure = getattr(metric, name)(n_classes=n_classes)
    measure.update(labels, masks)
    return measure.compute()


def test_a_missing_class_has_the_diagonal_as_distance():
    assert float(value_of("hausdorff", square(2, value=0), square(2))["mean"]) == pytest.approx(math.hypot(8, 8))


@pytest.mark.parametrize("name", plugin.METRICS)
def test_shards_give_the_value_of_the_whole(name):
    labels, masks = torch.cat([square(2), square(3), square(0, 2)]), torch.cat([square(3), square(3), square(2, 2)])
    whole = value_of(name, labels, masks, n_classes=3)
    first, second = (getattr(metric, name)(n_classes=3) for _ in range(2))

    first.update(labels[:1], masks[:1])
    second.update(labels[1:], masks[1:])
    first.totals, first.counts = first.totals + second.totals, first.counts + second.counts

    assert torch.allclose(first.compute()["per_class"], whole["per_class"], equal_nan=True)
    assert whole["per_class"].shape == (3,)
    assert whole["per_class"][0].isnan()


def test_the_example_trains_on_two_ranks(tmp_path):
    outcome = run_toml(EXAMPLE.read_text(encoding="utf-8"), tmp_path, "--limit-batches", "2", nproc=2).assert_done()

    assert math.isfinite(outcome.history[-1]["train/loss"])
