"""Models on small real images."""

import pytest
import torch
from torchvision import models

from ddpkit_plugins.models import resnet18, torchvision
from ddpkit_plugins.models.classifiers import adapted, classifier, replace_head
from ddpkit_plugins.models.unet import UNet

ARCHS = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1",
    "swin_t", "vgg11", "vit_b_16", "wide_resnet50_2",
]  # fmt: skip
"""One of each family."""


@pytest.mark.parametrize("n_channels", [1, 3, 5])
def test_resnet18_takes_any_channels_and_classes(n_channels):
    model = resnet18(n_channels=n_channels, n_classes=7).eval()

    assert model(torch.rand(2, n_channels, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("arch", ARCHS)
def test_every_family_takes_any_channels_and_classes(arch):
    with torch.device("cpu" if arch.startswith("regnet") else "meta"):  # its first weights are numbers of numpy
        model = torchvision(arch, n_channels=2, n_classes=7)
        side = 299 if arch == "inception_v3" else 224

        assert model.train()(torch.rand(2, 2, side, side)).shape == (2, 7)


@pytest.mark.parametrize("arch", ARCHS)
def test_every_family_gets_a_new_head(arch):
    with torch.device("cpu" if arch.startswith("regnet") else "meta"):
        extra = {"aux_logits": False, "init_weights": True} if arch in ("inception_v3", "googlenet") else {}
        model = models.get_model(arch, weights=None, **extra)
        replace_head(model, 7)
        side = 299 if arch == "inception_v3" else 224

        assert model.eval()(torch.rand(1, 3, side, side)).shape == (1, 7)


def test_published_weights_are_kept_over_other_channels():
    weight = torch.rand(4, 3, 2, 2, dtype=torch.float64)

    torch.testing.assert_close(adapted(weight, 1)[:, 0], weight.sum(1))
    six = adapted(weight, 6)
    torch.testing.assert_close(six[:, 4], weight[:, 1] / 2)
    torch.testing.assert_close(six.sum(1), weight.sum(1))


def test_an_unknown_arch_is_a_message():
    with pytest.raises(ValueError, match="torchvision has no classifier 'resnet81', did you mean 'resnet18'"):
        torchvision("resnet81")


def test_weights_that_cannot_be_fetched_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)

    with pytest.raises(ValueError, match=r"'resnet18' cannot be fetched \(no network\); put resnet18-\w+.pth into .*checkpoints"):
        classifier("resnet18", 3, 10, pretrained=True)


def unreachable(*_, **__):
    raise OSError("no network")


@pytest.mark.parametrize("bilinear", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (17, 30), (33, 9)])
def test_unet_gives_a_logit_for_each_pixel_of_any_size(bilinear, size):
    model = UNet(n_channels=2, n_classes=3, depth=3, width=4, bilinear=bilinear)

    assert model(torch.rand(2, 2, *size)).shape == (2, 3, *size)


def test_unet_learns_with_all_its_parameters():
    model = UNet(n_channels=1, depth=2, width=2)

    model(torch.rand(2, 1, 9, 9)).sum().backward()

    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("make", "params"), [(resnet18, {"n_classes": 0}), (UNet, {"depth": 0})])
def test_parameters_that_cannot_be_are_refused(make, params):
    with pytest.raises(ValueError, match=r"got"):
        make(**params)
