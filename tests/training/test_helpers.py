"""Frozen models that the training uses (`[train.helpers]`): built, never trained or saved, and the same after a resume."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import ddpkit
from ddpkit.checkpoint import trainer_state
from ddpkit.checkpoint.run_metadata import RunMetadata
from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.distributed.world import World
from ddpkit.errors import ConfigError
from ddpkit.plugins import manager
from ddpkit.runs import plugin_manifest
from ddpkit.training import builder
from tests.helpers.configs import BLOBS, DIGITS

NAME = "train.helpers.teacher"
TEACHER = """
[train.helpers.teacher]
name = "tinynet"
pretrained = "teacher.pth"
[train.helpers.teacher.config]
hidden = 32
dropout = 0.5
"""
IMAGES = torch.linspace(0, 1, 3 * 64).reshape(3, 1, 8, 8)


def tinynet(seed, n_pixels=64, n_classes=2):
    from acme.parts import TinyNet

    torch.manual_seed(seed)
    return TinyNet(n_pixels, 32, n_classes, dropout=0.5)


def load(file, **overrides):
    return loading.load(file, loading.named_overrides(overrides))


def build_trainer(file, **overrides):
    return builder.build_trainer(load(file, **overrides), manager.load().registry, World())


@pytest.fixture
def with_teacher(blobs):
    """Config with a helper that has dropout, and its weights file."""
    torch.save(tinynet(1).state_dict(), "teacher.pth")
    blobs.write_text(BLOBS + TEACHER)
    return blobs


def test_a_helper_is_frozen_and_in_evaluation_mode(with_teacher):
    trainer = build_trainer(with_teacher)
    trainer.train_epoch([])

    outputs = trainer.context.helpers["teacher"](IMAGES.requires_grad_())

    assert not outputs.requires_grad
    assert torch.equal(outputs, tinynet(1).eval()(IMAGES))


def test_a_helper_is_not_part_of_the_trained_state(with_teacher):
    ema = {"train.ema_decay": 0.9}
    with_it = build_trainer(with_teacher, **ema)
    with_teacher.write_text(BLOBS)
    without = build_trainer(with_teacher, **ema)

    for trainer in (with_it, without):
        trainer.train_epoch([])
    state, expected = map(flatten, map(trainer_state.capture_state, (with_it, without)))

    assert state.keys() == expected.keys()
    torch.testing.assert_close(state, expected, rtol=0, atol=0, equal_nan=True)


def flatten(value, path=""):
    if not isinstance(value, dict | list | tuple):
        return {} if value is None or isinstance(value, str) else {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: leaf for name, item in items for key, leaf in flatten(item, f"{path}.{name}").items()}


def test_initial_weights_depend_on_seed_and_name_only(blobs):
    both = {name: {"name": "tinynet"} for name in ("first", "second")}

    def digests(**overrides):
        trainer = build_trainer(blobs, **{"train.helpers": both}, **overrides)
        return [helper.digest() for helper in trainer.context.helpers.values()]

    found, again, other = digests(), digests(**{"model.config.hidden": 3}), digests(seed=1)

    assert again == found
    assert len({*found, *other}) == 4


@pytest.mark.parametrize(("given", "expected"), [({}, 3), ({f"{NAME}.config.n_classes": 5}, 5)])
def test_n_classes_is_that_of_the_model_unless_set(with_teacher, given, expected):
    trainer = build_trainer(with_teacher, **{f"{NAME}.pretrained": "", "model.config.n_classes": 3, **given})

    assert trainer.context.helpers["teacher"](IMAGES).shape == (3, expected)


@pytest.mark.parametrize(
    ("compute_type", "inside", "outside"),
    [("float64", torch.float64, torch.float64), ("bfloat16", torch.bfloat16, torch.float32)],
)
def test_a_helper_uses_the_precision_of_the_run(with_teacher, compute_type, inside, outside):
    helper = build_trainer(with_teacher, **{"train.scaler.compute_type": compute_type}).context.helpers["teacher"]
    seen = []
    helper.module[1].register_forward_hook(lambda _layer, _inputs, outputs: seen.append(outputs.dtype))

    assert helper(IMAGES).dtype == outside
    assert seen == [inside]


def test_lazy_layers_of_a_helper_get_their_shapes(with_teacher):
    helper = {"name": "lazynet", "pretrained": "lazy.pth"}
    first = build_trainer(with_teacher, **{"train.helpers": {"lazy": {"name": "lazynet"}}}).context.helpers["lazy"]
    torch.save(first.module.state_dict(), "lazy.pth")

    again = build_trainer(with_teacher, seed=1, **{"train.helpers": {"lazy": helper}}).context.helpers["lazy"]

    assert again.digest() == first.digest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda: tinynet(1, n_classes=3).state_dict(),
            "does not fit the model: 2 tensors .4.weight: .3, 32. in the file, .2, 32. in",
        ),
        (lambda: {"1.weight": torch.zeros(32, 64)}, "does not fit the model: 3 tensors .* are missing; use the model that"),
        (lambda: [1], "contains no state dict"),
    ],
)
def test_weights_that_do_not_fit_are_reported_at_their_key(with_teacher, content, message):
    torch.save(content(), "teacher.pth")

    with pytest.raises(ConfigError, match=rf"blobs.toml:32:14: {NAME}.pretrained: teacher.pth {message}"):
        build_trainer(with_teacher)


def test_mistakes_in_helpers_are_reported_at_their_lines(with_teacher, capsys):
    more = '[train.helpers."my-net"]\nname = "tinynet"\n[train.helpers.lost]\nname = "tinynet"\npretrained = "lost.pth"\n'
    wrong = '[train.helpers.other]\nname = "tinnet"\n[train.helpers.third]\nname = "tinynet"\nconfig = { hiden = 3 }\n'
    with_teacher.write_text(BLOBS + TEACHER + more + wrong)

    assert main(["check", with_teacher.name]) == 2
    name = "'my-net' cannot be the name of a helper; use letters, digits and '_', and no digit at the start"
    assert capsys.readouterr().err.splitlines() == [
        f"blobs.toml:36:16: train.helpers.my-net: {name}",
        "blobs.toml:40:14: train.helpers.lost.pretrained: file lost.pth was not found",
        "blobs.toml:42:8: train.helpers.other.name: no model is called 'tinnet', did you mean 'tinynet'?",
        "blobs.toml:45:12: train.helpers.third.config.hiden: model 'tinynet' has no such key, did you mean 'hidden'?",
    ]


def test_explain_shows_the_values_of_a_helper(with_teacher, capsys):
    assert main(["explain", with_teacher.name, "--json"]) == 0
    lines = {line["key"]: line for line in json.loads(capsys.readouterr().out)}

    assert lines[f"{NAME}.pretrained"]["value"] == "teacher.pth"
    assert lines[f"{NAME}.name"]["meaning"].startswith("acme/tinynet")
    assert lines[f"{NAME}.config.n_pixels"]["origin"] == "default of acme/tinynet"


def test_the_plugin_of_a_helper_is_in_the_manifest(digits):
    model = {"model": {"name": "resnet18"}}
    used = [load(digits, **model, **{"train.helpers": each}) for each in ({}, {"teacher": {"name": "tinynet"}})]

    names = [{plugin["name"] for plugin in plugin_manifest.list_used_plugins(config, manager.load())} for config in used]

    assert names[1] - names[0] == {"acme"}


# --- resume ------------------------------------------------------------------------------------------------------------


def check_resume(file, before, allowed=(), **overrides):
    """Compare a trainer with the digests of the resumed run."""
    config = load(file, **overrides)
    trainer = builder.build_trainer(config, manager.load().registry, World())
    digests = {name: each.digest() for name, each in trainer.context.helpers.items()}
    RunMetadata(config=config, plugins=[], environment={}, data={}, helpers=digests).check_helpers(before, allowed)
    return digests


def test_a_resume_refuses_other_weights_of_a_helper(with_teacher):
    before = check_resume(with_teacher, {})
    shutil.copy("teacher.pth", "moved.pth")
    torch.save(tinynet(2).state_dict(), "teacher.pth")

    assert check_resume(with_teacher, before, **{f"{NAME}.pretrained": "moved.pth"}) == before
    assert check_resume(with_teacher, before, [NAME]) != before
    with pytest.raises(ConfigError) as caught:
        check_resume(with_teacher, before)
    place = f"blobs.toml:32:14: {NAME}.pretrained"
    assert f"{place}: its weights differ from those of the resumed run (teacher.pth): weights " in str(caught.value)
    assert str(caught.value).endswith(f"or add '--allow-drift {NAME}'")


def test_a_resume_refuses_other_initial_weights_of_a_helper(with_teacher):
    with pytest.raises(
        ConfigError, match=rf"blobs.toml:30:16: {NAME}: its weights differ from those of the resumed run: weights"
    ):
        check_resume(with_teacher, {"teacher": "1234567890"}, **{f"{NAME}.pretrained": ""})


def test_a_run_with_a_helper_from_start_to_predict(digits, monkeypatch, capsys):
    monkeypatch.chdir(digits.parent)
    torch.save(tinynet(1, 784, 10).state_dict(), "teacher.pth")
    digits.write_text(DIGITS + TEACHER.replace("hidden", "n_pixels = 784\nhidden") + '[predict.config]\nmode = "L"\n')
    command = ["run", "digits.toml", "--set", "run_id=mine", "--set", "output_dir=runs", "--set", "task=digits"]
    assert main(command) == 0
    folder = Path("runs/digits/mine")
    shutil.move("teacher.pth", "moved.pth")
    torch.save(tinynet(2, 784, 10).state_dict(), "teacher.pth")

    resumed = [*command, "--resume", "--set", "train.epoch=3"]
    assert main([*resumed, "--set", "train.helpers.teacher.config.hidden=16"]) == 2
    assert "train.helpers.teacher.config.hidden: is 16, but was 32 in the resumed run" in capsys.readouterr().err
    assert main(resumed) == 2
    assert "its weights differ from those of the resumed run" in capsys.readouterr().err
    assert main([*resumed, "--set", f"{NAME}.pretrained=moved.pth"]) == 0
    assert main([*resumed[:-1], "train.epoch=4", "--allow-drift", NAME]) == 0
    capsys.readouterr()
    assert main(["inspect", str(folder), "--json"]) == 0
    assert "train.helpers.teacher: weights" in json.loads(capsys.readouterr().out)["changes"][-1]

    Path("teacher.pth").unlink()
    Path("moved.pth").unlink()
    Image.new("L", (28, 28)).save("image.png")
    assert main(["predict", str(folder), "image.png"]) == 0
    assert ddpkit.load(folder)("image.png")
    assert main(["test", str(folder)]) == 2
