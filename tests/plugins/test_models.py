"""Models: what goes in and comes out, of any arch, with and without published weights."""

import pytest
import torch
from torch import nn
from torchvision import models

from ddpkit.signatures import imported
from ddpkit_plugins.models import ddpkit_models
from ddpkit_plugins.models.classifiers import for_channels, last_layer, resnet18, torchvision
from ddpkit_plugins.models.unet import UNet

ARCHS = models.list_models(module=models)
NAMED = [component.name for component in ddpkit_models() if component.name in ARCHS]
LARGE_REGNETS = [arch for arch in ARCHS if arch.startswith("regnet") and not arch.endswith("00mf")]


@pytest.mark.parametrize("bilinear", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (37, 50), (3, 65)])
def test_unet_gives_logits_of_the_size_of_the_image(size, bilinear):
    model = UNet(n_channels=2, n_classes=3, depth=3, width=4, bilinear=bilinear).eval()

    assert model(torch.rand(2, 2, *size)).shape == (2, 3, *size)


def test_unet_is_the_published_one_in_its_channels():
    model = UNet(n_channels=1, n_classes=2, bilinear=False)

    widths = [each.out_channels for each in model.modules() if isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3)]
    assert widths == [each for width in (64, 128, 256, 512, 1024, 64, 128, 256, 512) for each in (width, width)]
    assert sum(parameter.numel() for parameter in model.parameters()) == 31_036_546


def test_unet_reaches_all_its_parameters():
    model = UNet(depth=2, width=4)
    model(torch.rand(2, 3, 9, 7)).sum().backward()

    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("arch", [arch for arch in ARCHS if arch not in LARGE_REGNETS])
def test_every_arch_takes_other_channels_and_classes(arch):
    # regnets cannot be made without memory; the large ones differ in numbers alone
    with torch.device("cpu" if arch.startswith("regnet") else "meta"):
        model = torchvision(arch, n_channels=2, n_classes=5).train()
        outputs = model(torch.empty(2, 2, 224, 224))

    assert outputs.shape == (2, 5)
    assert last_layer(model)[1].weight.shape[0] == 5


@pytest.mark.parametrize("name", NAMED)
def test_a_bare_name_is_the_builder_with_that_arch(name):
    targets = {component.name: component.target for component in ddpkit_models()}
    with torch.device("meta"):
        model = imported(targets[name])(n_channels=1, n_classes=4)
        wanted = torchvision(name, n_channels=1, n_classes=4)

    assert {key: value.shape for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in wanted.state_dict().items()
    }


def test_a_grey_resnet18_draws_its_first_convolution_last():
    torch.manual_seed(3)
    wanted = models.resnet18(num_classes=10)
    wanted.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    torch.manual_seed(3)
    state = resnet18(n_channels=1, n_classes=10).state_dict()

    assert state.keys() == wanted.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in wanted.state_dict().items())


def test_a_first_convolution_keeps_what_it_learnt():
    weight = torch.rand(4, 3, 2, 2, dtype=torch.float64)
    grey = torch.rand(2, 1, 5, 5, dtype=torch.float64)

    as_colour = nn.functional.conv2d(grey.repeat(1, 3, 1, 1), weight)
    torch.testing.assert_close(nn.functional.conv2d(grey, for_channels(weight, 1)), as_colour)
    torch.testing.assert_close(for_channels(weight, 5), weight[:, [0, 1, 2, 0, 1]] * 3 / 5)
    torch.testing.assert_close(for_channels(weight, 2), weight[:, :2] * 3 / 2)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder for torch.hub, and a network that answers to nobody."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    return tmp_path / "hub/checkpoints"


def file_name(arch):
    return models.get_model_weights(arch).DEFAULT.url.rpartition("/")[2]


@pytest.mark.parametrize(
    "arch", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "efficientnet_b0", "googlenet", "inception_v3"]
)
def test_published_weights_are_kept_but_for_the_ends(hub, arch):
    auxiliary = {"aux_logits": True, "init_weights": False} if arch in ("googlenet", "inception_v3") else {}
    original = models.get_model(arch, weights=None, **auxiliary).state_dict()
    torch.save(original, hub / file_name(arch))

    model = torchvision(arch, n_channels=1, n_classes=5, pretrained=True)

    state = model.state_dict()
    changed = {key for key, value in state.items() if not torch.equal(value, original[key])}
    first = next(name for name, each in model.named_modules() if isinstance(each, nn.Conv2d))
    head = last_layer(model)[0]
    assert changed <= {f"{first}.weight", f"{head}.weight", f"{head}.bias"}
    torch.testing.assert_close(state[f"{first}.weight"], original[f"{first}.weight"].sum(dim=1, keepdim=True))
    assert model.train()(torch.rand(2, 1, 96, 96)).shape == (2, 5)


def test_published_weights_are_left_alone_for_what_they_were_made_for(hub):
    original = models.resnet18().state_dict()
    torch.save(original, hub / file_name("resnet18"))

    state = resnet18(pretrained=True).state_dict()

    assert all(torch.equal(value, original[key]) for key, value in state.items())


@pytest.mark.parametrize("content", [None, b"", b"no weights"])
def test_weights_that_cannot_be_had_are_a_message_with_file_and_folder(hub, content):
    if content is not None:
        (hub / file_name("resnet18")).write_bytes(content)

    with pytest.raises(ValueError, match=f"put {file_name('resnet18')} from https://.* into {hub}; got"):
        resnet18(pretrained=True)


@pytest.mark.parametrize(
    ("make", "params", "message"),
    [
        (torchvision, {"arch": "resnet81"}, "got 'resnet81', did you mean 'resnet18'?"),
        (torchvision, {"arch": "fcn_resnet50"}, "got 'fcn_resnet50'"),
        (torchvision, {"arch": "vgg11", "n_channels": 0}, "got 0 and 1000"),
        (resnet18, {"n_classes": 0}, "got 3 and 0"),
        (UNet, {"depth": 0}, "got 3, 1, 0 and 64"),
        (UNet, {"n_classes": 0}, "got 3, 0, 4 and 64"),
    ],
)
def test_parameters_that_cannot_be_are_refused(make, params, message):
    with pytest.raises(ValueError, match=message):
        make(**params)
