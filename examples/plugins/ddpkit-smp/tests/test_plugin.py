"""The models give masks, the losses fit them, and a config can train with both."""

import math
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from ddpkit_smp import loss, plugin

from ddpkit.testing import loaded, run_toml

EXAMPLE = Path(__file__).parents[1] / "example.toml"
LARGE = {"dpt"}
"""Models whose encoders are too large for a test."""


def batch(n_classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(3, n_classes, 8, 8, generator=generator)
    masks = torch.randint(0, max(n_classes, 2), (3, 8, 8), generator=generator, dtype=torch.uint8)
    return outputs.requires_grad_(), masks


def test_the_plugin_declares_its_components():
    registry = loaded(smp="ddpkit_smp.plugin").registry

    assert {entry.kind for entry in registry} == {"model", "criterion"}


@pytest.mark.parametrize("name", sorted({*plugin.MODELS} - LARGE))
def test_a_model_gives_logits_of_the_size_of_the_image(name):
    encoder = "mit_b0" if name == "segformer" else "resnet18"
    model = getattr(smp, plugin.MODELS[name][0])(encoder, encoder_weights=None, in_channels=3, classes=4).eval()

    with torch.no_grad():
        assert model(torch.rand(1, 3, 128, 128)).shape == (1, 4, 128, 128)


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


def test_the_loss_of_one_image_is_that_of_the_library():
    outputs, masks = batch(4)

    value = loss.dice(n_classes=4, smooth=1.0)(outputs[:1], masks[:1])

    assert torch.equal(value, smp.losses.DiceLoss("multiclass", smooth=1.0)(outputs[:1], masks[:1].long()))


def test_the_example_trains_on_two_ranks(tmp_path):
    outcome = run_toml(EXAMPLE.read_text(encoding="utf-8"), tmp_path, "--limit-batches", "2", nproc=2).assert_done()

    assert math.isfinite(outcome.history[-1]["train/loss"])
