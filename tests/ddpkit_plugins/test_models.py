"""Inputs and outputs of the models, for every arch, with and without published weights."""

import copy
import functools
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import nn
from torchvision import models

from ddpkit import for_channels
from ddpkit.config import loading
from ddpkit.plugins.signatures import import_target, inspect_target
from ddpkit.training.param_groups import divide_parameters, freeze, parameter_groups
from ddpkit.training.pretrained import load_matching, top_level_name
from ddpkit_plugins.models import ddpkit_models
from ddpkit_plugins.models.classifiers import resnet18
from ddpkit_plugins.models.torchvision_models import copy_heads, torchvision, untrained_options
from ddpkit_plugins.models.unet import UNet

CLASSIFIERS, SEGMENTERS, DETECTORS = (
    models.list_models(module=module) for module in (models, models.segmentation, models.detection)
)
LARGE_REGNETS = [arch for arch in CLASSIFIERS if arch.startswith("regnet") and not arch.endswith("00mf")]


@pytest.mark.parametrize("bilinear", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (37, 50), (3, 65)])
def test_unet_logits_have_the_size_of_the_image(size, bilinear):
    model = UNet(n_channels=2, n_classes=3, depth=3, width=4, bilinear=bilinear).eval()

    assert model(torch.rand(2, 2, *size)).shape == (2, 3, *size)


def test_unet_has_the_published_channels():
    model = UNet(n_channels=1, n_classes=2, bilinear=False)

    widths = [each.out_channels for each in model.modules() if isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3)]
    assert widths == [each for width in (64, 128, 256, 512, 1024, 64, 128, 256, 512) for each in (width, width)]
    assert sum(parameter.numel() for parameter in model.parameters()) == 31_036_546


def test_unet_gives_every_parameter_a_gradient():
    model = UNet(depth=2, width=4)
    model(torch.rand(2, 3, 9, 7)).sum().backward()

    assert all(parameter.grad is not None for parameter in model.parameters())


HEADS = {
    "alexnet": ["classifier.6"], "convnext_tiny": ["classifier.2"], "densenet121": ["classifier"],
    "efficientnet_b0": ["classifier.1"], "googlenet": ["fc"], "inception_v3": ["fc"], "maxvit_t": ["classifier.5"],
    "mnasnet0_5": ["classifier.1"], "mobilenet_v2": ["classifier.1"], "mobilenet_v3_small": ["classifier.3"],
    "regnet_y_400mf": ["fc"], "resnet18": ["fc"], "resnext50_32x4d": ["fc"], "shufflenet_v2_x0_5": ["fc"],
    "squeezenet1_1": ["classifier.1"], "swin_t": ["head"], "swin_v2_t": ["head"], "vgg11": ["classifier.6"],
    "vit_b_16": ["heads.head"], "wide_resnet50_2": ["fc"],
    "deeplabv3_mobilenet_v3_large": ["classifier.4"], "fcn_resnet50": ["classifier.4"],
    "lraspp_mobilenet_v3_large": ["classifier.low_classifier", "classifier.high_classifier"],
    "fasterrcnn_mobilenet_v3_large_320_fpn": ["roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"],
    "maskrcnn_resnet50_fpn": [
        "roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred", "roi_heads.mask_predictor.mask_fcn_logits",
    ],
    "keypointrcnn_resnet50_fpn": ["roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"],
    "retinanet_resnet50_fpn": ["head.classification_head.cls_logits"],
    "fcos_resnet50_fpn": ["head.classification_head.cls_logits"],
    "ssd300_vgg16": [f"head.classification_head.module_list.{number}" for number in range(6)],
    "ssdlite320_mobilenet_v3_large": [f"head.classification_head.module_list.{number}.1" for number in range(6)],
}  # fmt: skip
"""One of each family, with the layers that make its outputs."""
AUXILIARY = {
    "googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",),
    "fcn_resnet50": ("aux_classifier",), "deeplabv3_mobilenet_v3_large": ("aux_classifier",),
}  # fmt: skip
"""Modules of the published models that ours do not have."""


def on_meta(arch):
    """Regnets and SSDs cannot be built on the meta device."""
    return torch.device("cpu" if arch.startswith(("regnet", "ssd")) else "meta")


def as_published(arch):
    """The model that the weights of torchvision belong to."""
    auxiliary = {"aux_logits": True, "init_weights": False} if arch in ("googlenet", "inception_v3") else {}
    if arch.startswith(("fcn", "deeplab")):
        auxiliary = {"aux_loss": True}
    return models.get_model(arch, weights=None, **(untrained_options(arch) | auxiliary))


@functools.cache
def published_on_meta(arch):
    """Shapes of the tensors of torchvision's weights, with auxiliary heads where those have them."""
    with on_meta(arch):
        return as_published(arch).to("meta").state_dict()


def layers(names):
    """The layers that these tensors belong to."""
    return {name.rpartition(".")[0] for name in names}


def mark_slow_except(archs, fast):
    """Test parameters, slow except for some. Large regnets are left out: they differ from small ones only in sizes."""
    archs = [arch for arch in archs if arch not in LARGE_REGNETS]
    return [arch if arch in fast else pytest.param(arch, marks=pytest.mark.slow) for arch in archs]


FAMILIES = mark_slow_except(HEADS, HEADS.keys() - {"ssd300_vgg16"})  # large, and cannot be built on the meta device


@pytest.mark.parametrize("arch", FAMILIES)
def test_other_classes_and_channels_change_head_and_first_conv(arch):
    with on_meta(arch):
        model = torchvision(arch, n_channels=2, n_classes=6)

    state, original = model.state_dict(), published_on_meta(arch)
    first = next(name for name, each in model.named_modules() if isinstance(each, nn.Conv2d))
    assert {top_level_name(name) for name in original.keys() - state.keys()} == set(AUXILIARY.get(arch, ()))
    assert layers(name for name, tensor in state.items() if tensor.shape != original[name].shape) == {first, *HEADS[arch]}
    assert state[f"{first}.weight"].shape[1] == 2
    n_outputs = 6 + (arch in DETECTORS)
    assert all(state[f"{head}.weight"].shape[0] % n_outputs == 0 for head in HEADS[arch])


@pytest.mark.parametrize(
    "arch", mark_slow_except([*CLASSIFIERS, *SEGMENTERS], {"inception_v3", "maxvit_t", "vit_b_16", *SEGMENTERS})
)
def test_every_arch_supports_other_channels_and_classes(arch):
    with on_meta(arch):
        model = torchvision(arch, n_channels=2, n_classes=5).train()
        outputs = model(torch.empty(2, 2, 224, 224))

    assert outputs.shape == ((2, 5, 224, 224) if arch in SEGMENTERS else (2, 5))


def recorded_class_counts(model):
    """The numbers of classes that modules store as attributes."""
    return [vars(each).get(count) for each in model.modules() for count in ("num_classes", "num_columns")]


@pytest.mark.parametrize("arch", FAMILIES)
def test_copy_heads_replaces_only_the_heads(arch):
    with on_meta(arch):
        model, other = (models.get_model(arch, weights=None, num_classes=n, **untrained_options(arch)) for n in (3, 4))
        before = dict(model.named_modules())
        copy_heads(model, other)

    after = dict(model.named_modules())
    assert {name for name in after if after[name] is not before[name]} == set(HEADS[arch])
    assert recorded_class_counts(model) == recorded_class_counts(other)
    assert {name: each.shape for name, each in model.state_dict().items()} == {
        name: each.shape for name, each in other.state_dict().items()
    }


def test_copy_heads_keeps_the_image_size():
    with torch.device("meta"):
        model = models.vit_b_16(image_size=384)
        copy_heads(model, models.vit_b_16(num_classes=5))

        assert model.eval()(torch.empty(1, 3, 384, 384)).shape == (1, 5)


@pytest.mark.parametrize("arch", FAMILIES)
def test_torchvision_weights_load_with_other_classes(arch):
    with on_meta(arch):
        model = torchvision(arch, n_classes=6).to("meta")

    notes = load_matching(model, dict(published_on_meta(arch)))

    n_heads = sum(len(dict(model.get_submodule(head).named_parameters())) for head in HEADS[arch])
    assert notes[0].startswith(f"{n_heads} tensor")
    assert f"({HEADS[arch][0]}.weight (" in notes[0]
    assert [note.partition("(")[2].partition(".")[0] for note in notes[1:]] == [*AUXILIARY.get(arch, ())][:1]


@pytest.mark.parametrize("arch", FAMILIES)
def test_torchvision_weights_load_with_other_channels(arch):
    with on_meta(arch):
        model = torchvision(arch, n_channels=4).to("meta")
    first = next(name for name, each in model.named_modules() if isinstance(each, nn.Conv2d))

    notes = load_matching(model, dict(published_on_meta(arch)))

    assert notes[0].startswith(f"{first}.weight ([")
    assert notes[0].endswith("is adapted to the number of image channels (summed or repeated)")


FROZEN = {
    "resnet18": ["conv1.*", "bn1.*", "layer*"],
    "densenet121": ["features.*"],
    "efficientnet_b0": ["features.*"],
    "mobilenet_v3_small": ["features.*", "classifier.0.*"],
    "convnext_tiny": ["features.*", "classifier.0.*"],
    "vit_b_16": ["class_token", "conv_proj.*", "encoder.*"],
    "swin_t": ["features.*", "norm.*"],
    "deeplabv3_mobilenet_v3_large": ["backbone.*", "classifier.[0-3].*"],
    "lraspp_mobilenet_v3_large": ["backbone.*", "classifier.cbr.*", "classifier.scale.*"],
    "fasterrcnn_mobilenet_v3_large_320_fpn": ["backbone.*", "rpn.*", "roi_heads.box_head.*"],
    "retinanet_resnet50_fpn": ["backbone.*", "*.conv.*", "head.regression_head.*"],
}
"""`model.freeze` that leaves the head."""
GROUPS = [{"match": "*.bias", "learning_rate": 0.5}]


@pytest.mark.parametrize(("arch", "patterns"), FROZEN.items())
def test_freezing_all_but_the_head_trains_only_the_head(blobs, arch, patterns):
    overrides = loading.named_overrides({"model.freeze": patterns, "train.optimizer.groups": GROUPS})
    asked = loading.load(blobs, overrides)
    with torch.device("meta"):
        model = torchvision(arch, n_classes=6)

    freeze(model, asked)

    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert layers(trained) == set(HEADS[arch])
    [parameters] = divide_parameters(model, asked)
    *_, head = parameter_groups(parameters, asked.run.train.optimizer, ("train", "optimizer"), asked)
    assert (len(head["params"]), head["lr"]) == (len(HEADS[arch]), 0.5)


SMALL = {"fasterrcnn_mobilenet_v3_large_320_fpn", "retinanet_resnet50_fpn", "fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large"}
IMAGES = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))


def targets_for(arch):
    """Two objects in the first image, of the first and the last of three classes, and none in the second."""
    boxes, labels = torch.tensor([[4.0, 4.0, 30.0, 40.0], [20.0, 10.0, 60.0, 50.0]]), torch.tensor([1, 3])
    some, none = {"boxes": boxes, "labels": labels}, {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    if arch.startswith("mask"):
        some["masks"], none["masks"] = torch.ones(2, 64, 64, dtype=torch.uint8), torch.zeros(0, 64, 64, dtype=torch.uint8)
    if arch.startswith("keypoint"):
        some["keypoints"], none["keypoints"] = torch.full((2, 17, 3), 20.0), torch.zeros(0, 17, 3)
    return [some, none]


@pytest.mark.parametrize("arch", mark_slow_except(DETECTORS, SMALL))
def test_a_detector_gives_training_losses_and_eval_boxes(arch):
    torch.manual_seed(0)
    size = {} if arch.startswith("ssd") else {"min_size": 64, "max_size": 96}
    model = torchvision(arch, n_channels=1, n_classes=3, **size).train()

    losses = model(IMAGES, targets_for(arch))
    sum(losses.values()).backward()
    found = model.eval()(IMAGES)

    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert len(found) == 2
    assert all({"boxes", "labels", "scores"} <= each.keys() for each in found)
    assert {label for each in found for label in each["labels"].tolist()} <= {1, 2, 3}


def test_a_segmenter_without_auxiliary_head_gets_all_gradients():
    model = torchvision("deeplabv3_mobilenet_v3_large", n_classes=2)
    model(torch.rand(2, 3, 33, 47)).sum().backward()

    assert all(parameter.grad is not None for parameter in model.parameters())


TARGETS = {component.name: component.target for component in ddpkit_models() if component.name not in ("torchvision", "unet")}


@pytest.mark.parametrize("name", mark_slow_except(TARGETS, TARGETS.keys() - {"ssd300_vgg16"}))
def test_a_bare_name_builds_that_arch(name):
    with on_meta(name):
        model = import_target(TARGETS[name])(n_channels=1, n_classes=4)
        wanted = torchvision(name, n_channels=1, n_classes=4)

    assert str(model) == str(wanted)  # all layers with their sizes, and a detector's scaling


@pytest.mark.parametrize("name", TARGETS)
def test_a_bare_name_defaults_to_the_published_classes(name):
    categories = models.get_model_weights(name).DEFAULT.meta["categories"]

    assert inspect_target(TARGETS[name]).defaults["n_classes"] == len(categories) - (name in DETECTORS)


def test_a_copied_segmenter_gives_logits():
    with torch.device("meta"):
        model = torchvision("lraspp_mobilenet_v3_large", n_classes=2)
        copied = copy.deepcopy(model).eval()

        assert copied(torch.empty(1, 3, 32, 32)).shape == (1, 2, 32, 32)
    assert model.state_dict().keys() == published_on_meta("lraspp_mobilenet_v3_large").keys()


def test_mnasnet_loads_from_safetensors(tmp_path):
    model, other = (torchvision("mnasnet0_5", n_classes=2) for _ in range(2))
    save_model(model, tmp_path / "weights.safetensors")

    load_model(other, tmp_path / "weights.safetensors")

    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_a_grayscale_resnet18_initialises_its_first_conv_last():
    torch.manual_seed(3)
    wanted = models.resnet18(num_classes=10)
    wanted.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    torch.manual_seed(3)
    state = resnet18(n_channels=1, n_classes=10).state_dict()

    assert state.keys() == wanted.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in wanted.state_dict().items())


def test_for_channels_keeps_the_learned_response():
    weight = torch.rand(4, 3, 2, 2, dtype=torch.float64)
    grey = torch.rand(2, 1, 5, 5, dtype=torch.float64)

    as_colour = nn.functional.conv2d(grey.repeat(1, 3, 1, 1), weight)
    torch.testing.assert_close(nn.functional.conv2d(grey, for_channels(weight, 1)), as_colour)
    torch.testing.assert_close(for_channels(weight, 5), weight[:, [0, 1, 2, 0, 1]] * 3 / 5)
    torch.testing.assert_close(for_channels(weight, 2), weight[:, :2] * 3 / 2)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder for torch.hub, without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    return tmp_path / "hub/checkpoints"


def file_name(arch):
    return models.get_model_weights(arch).DEFAULT.url.rpartition("/")[2]


PUBLISHED = [
    *("resnet18", "mobilenet_v3_small", "squeezenet1_1", "googlenet", "inception_v3", "mnasnet0_5"),
    *("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large", "ssdlite320_mobilenet_v3_large"),
]


@pytest.mark.parametrize("arch", [*PUBLISHED, *mark_slow_except(sorted(HEADS.keys() - set(PUBLISHED)), [])])
def test_published_weights_change_only_at_head_and_first_conv(hub, arch):
    original = as_published(arch).state_dict()
    torch.save(original, hub / file_name(arch))

    model = torchvision(arch, n_channels=1, n_classes=5, pretrained=True)

    state = model.state_dict()
    changed = layers(name for name, tensor in state.items() if not torch.equal(tensor, original[name]))
    first = next(name for name, each in model.named_modules() if isinstance(each, nn.Conv2d))
    assert changed == {first, *HEADS[arch]}
    torch.testing.assert_close(state[f"{first}.weight"], original[f"{first}.weight"].sum(dim=1, keepdim=True))
    if arch not in DETECTORS:
        size = 224 if arch in ("maxvit_t", "vit_b_16") else 96
        assert model.train()(torch.rand(2, 1, size, size)).shape[:2] == (2, 5)


def test_a_pretrained_detector_trains_with_frozen_norms(hub):
    arch = "fasterrcnn_mobilenet_v3_large_320_fpn"
    torch.save(as_published(arch).state_dict(), hub / file_name(arch))

    model = torchvision(arch, n_channels=1, n_classes=3, pretrained=True, min_size=64, max_size=96).train()
    sum(model(IMAGES, targets_for(arch)).values()).backward()

    parameters = dict(model.named_parameters())
    reached = {name for name, each in parameters.items() if each.grad is not None}
    assert {"backbone.body.0.0.weight", "roi_heads.box_predictor.cls_score.weight"} <= reached
    assert {name for name, each in parameters.items() if not each.requires_grad} == parameters.keys() - reached
    assert not any(isinstance(each, nn.BatchNorm2d) for each in model.modules())


def test_published_weights_are_unchanged_for_default_shapes(hub):
    original = models.resnet18().state_dict()
    torch.save(original, hub / file_name("resnet18"))

    state = resnet18(pretrained=True).state_dict()

    assert all(torch.equal(value, original[key]) for key, value in state.items())


@pytest.mark.parametrize("content", [None, b"", b"no weights"])
def test_missing_published_weights_name_file_and_folder(hub, content):
    if content is not None:
        (hub / file_name("resnet18")).write_bytes(content)

    with pytest.raises(ValueError, match=f"cannot be loaded: .*; download {file_name('resnet18')} from https://.* into {hub}"):
        resnet18(pretrained=True)


@pytest.mark.parametrize(
    ("make", "params", "message"),
    [
        (torchvision, {"arch": "resnet81"}, "got 'resnet81'; did you mean 'resnet18'?"),
        (torchvision, {"arch": "raft_small"}, "got 'raft_small'"),
        (torchvision, {"arch": "resnet18", "min_size": 64}, "not for 'resnet18'; remove them"),
        (
            torchvision,
            {"arch": "ssdlite320_mobilenet_v3_large", "max_size": 64},
            "not for 'ssdlite320_mobilenet_v3_large'; remove them",
        ),
        (torchvision, {"arch": "fasterrcnn_mobilenet_v3_large_fpn", "min_size": 64, "max_size": 63}, "got 64 and 63"),
        (torchvision, {"arch": "fasterrcnn_mobilenet_v3_large_fpn", "min_size": 0}, "got 0 and 1333"),
        (torchvision, {"arch": "vgg11", "n_channels": 0}, "got 0 and None"),
        (resnet18, {"n_classes": 0}, "got 3 and 0"),
        (UNet, {"depth": 0}, "got 3, 1, 0 and 64"),
        (UNet, {"n_classes": 0}, "got 3, 0, 4 and 64"),
    ],
)
def test_invalid_parameters_are_rejected(make, params, message):
    with pytest.raises(ValueError, match=message):
        make(**params)


DRAWS = {component.name: component.draws for component in ddpkit_models() if component.name != "torchvision"}


def generator_states():
    """The state of each global random generator, by the name that components declare."""
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002 - a model may draw from the global generator
    return {"torch": torch.get_rng_state().tolist(), "numpy": numpy_state, "python": random.getstate()}


@pytest.mark.parametrize("name", mark_slow_except(DRAWS, {"unet", "resnet18", "mobilenet_v3_small", "retinanet_resnet50_fpn"}))
def test_a_model_draws_only_from_the_generators_that_it_declares(name):
    is_detector = name in DETECTORS
    sizes = {"min_size": 64, "max_size": 96} if is_detector and not name.startswith("ssd") else {}
    model = UNet(3, 2, 2, 4) if name == "unet" else torchvision(name, n_classes=3, **sizes)
    images = torch.rand(2, 3, *(2 * [224 if name == "vit_b_16" else 64]))
    before = generator_states()

    outputs = model.train()(images, targets_for(name)) if is_detector else model.train()(images)
    loss = sum(outputs.values()) if is_detector else outputs.sum()
    loss.backward()

    after = generator_states()
    assert {generator for generator, state in after.items() if state != before[generator]} <= {*DRAWS[name]}
