"""Pretrained weights in a new run: matching tensors are loaded, others are reported or rejected."""

import logging
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import nn
from torchvision import models

from ddpkit import for_channels
from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.distributed.world import World
from ddpkit.plugins import manager
from ddpkit.training import builder
from ddpkit.training.pretrained import load_matching, read_weights
from tests.helpers.ranks import fit


class Net(nn.Module):
    """A body, an optional auxiliary module, and a head."""

    def __init__(self, n_classes=2, width=4, n_channels=3, *, auxiliary=False, deeper=False, head=True):
        super().__init__()
        layers = [nn.Conv2d(n_channels, width, 3), nn.BatchNorm2d(width), *([nn.Conv2d(width, width, 1)] if deeper else [])]
        self.body = nn.Sequential(*layers)
        if auxiliary:
            self.auxiliary = nn.Linear(width, 2)
        if head:
            self.head = nn.Linear(width, n_classes)


def same(state, model, but=()):
    """Whether exactly these tensors differ."""
    mine = model.state_dict()
    return {name for name, tensor in mine.items() if not torch.equal(tensor, state.get(name, torch.empty(0)))} == set(but)


HEAD = ("head.weight", "head.bias")


@pytest.mark.parametrize(
    ("there", "here", "fresh", "said"),
    [
        (Net(), Net(), (), []),
        (Net(n_classes=5), Net(n_classes=2), HEAD, ["2 tensors (head.weight ([5, 4] in the file, [2, 4] in the model), head.bias ([5] in the file, [2] in the model)) are re-initialised: their number of outputs differs"]),
        (Net(head=False), Net(), HEAD, ["2 tensors (head.weight, head.bias) are re-initialised: their module is missing in the file"]),
        (Net(auxiliary=True), Net(), (), ["2 tensors (auxiliary.weight, auxiliary.bias) are not used: their module is missing in the model"]),
    ],
)  # fmt: skip
def test_reset_heads_and_missing_modules_are_reported(there, here, fresh, said):
    state = {name: tensor.clone() for name, tensor in there.state_dict().items()}

    assert load_matching(here, dict(state)) == said
    assert same(state, here, but=fresh)


@pytest.mark.parametrize(("there", "here"), [(3, 1), (3, 4), (1, 3)])
def test_the_first_conv_is_adapted_to_the_image_channels(there, here):
    state, model = Net(n_channels=there).state_dict(), Net(n_channels=here)

    said = f"body.0.weight ([4, {there}, 3, 3] in the file, [4, {here}, 3, 3] in the model) is adapted"
    assert load_matching(model, dict(state))[0].startswith(said)
    assert same(state | {"body.0.weight": for_channels(state["body.0.weight"], here)}, model)


@pytest.mark.parametrize(
    ("there", "here", "message"),
    [
        (Net(deeper=True), Net(), r"2 tensors \(body.2.weight, body.2.bias\) are unknown to the model; use the model"),
        (Net(), Net(deeper=True), r"2 tensors \(body.2.weight, body.2.bias\) are missing; use the model"),
        (Net(width=8), Net(), r"7 tensors .body.0.weight .\[8, 3, 3, 3\] in the file, \[4, 3, 3, 3\] in the model., body.0.bias .*, \.\.\.. have another shape"),
        (nn.Linear(4, 2), Net(), r"fits no tensor of the model: 2 tensors \(weight, bias\) in the file, 9 tensors \(body.0.weight, body.0.bias, body.1.weight, ...\) in the model"),
        (nn.Sequential(nn.Linear(4, 2)), nn.Sequential(nn.Linear(4, 3)), "fits no tensor of the model"),
    ],
)  # fmt: skip
def test_weights_of_another_model_are_rejected_by_name(there, here, message):
    with pytest.raises(ValueError, match=message):
        load_matching(here, there.state_dict())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_the_prefix_of_a_wrapper_is_removed(prefix):
    there, here = Net(), Net()

    assert load_matching(here, {prefix + name: tensor for name, tensor in there.state_dict().items()}) == []
    assert same(there.state_dict(), here)


def test_a_prefix_that_the_model_has_is_kept():
    there, here = (nn.ModuleDict({"module": Net()}) for _ in range(2))

    assert load_matching(here, there.state_dict()) == []


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "under.pt", "below.pth"])
def test_safetensors_and_torch_files_are_read(tmp_path, name):
    state = Net().state_dict()
    kept = {"under.pt": {"state_dict": state, "epoch": 3}, "below.pth": {"model": state, "optimizer": {}}}
    save_file(state, tmp_path / name) if name.endswith("safetensors") else torch.save(kept.get(name, state), tmp_path / name)

    found = read_weights(tmp_path / name)

    assert all(torch.equal(tensor, found[key]) for key, tensor in state.items())


class MaliciousPickle:
    """Its unpickling executes code."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"no weights", "cannot be read as weights"),
        ("w.pt", b"no weights", "cannot be read as weights"),
        ("w.pt", b"", "cannot be read as weights"),
        ("w.pt", b"hello world", "cannot be read as weights"),
        ("w.pt", MaliciousPickle(), "cannot be read as weights"),
        ("w.pt", Net(), "cannot be read as weights"),
        (
            "w.pt",
            [torch.zeros(2)],
            "contains no state dict; save the state dict itself, or under the key 'state_dict' or 'model'",
        ),
        ("w.pt", {"epoch": 3}, "contains no state dict"),
        ("w.pt", {1: torch.zeros(2)}, "contains no state dict"),
        ("w.pt", {}, "fits no tensor of the model"),
    ],
)
def test_a_file_without_weights_is_rejected_and_not_executed(tmp_path, monkeypatch, name, content, message):
    monkeypatch.chdir(tmp_path)
    if isinstance(content, bytes):
        Path(name).write_bytes(content)
    else:
        torch.save(content, name)

    with pytest.raises(ValueError, match=message):
        load_matching(Net(), read_weights(Path(name)))
    assert not Path("sprung").exists()


# --- in a run ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(blobs):
    """The weights of a finished run."""
    assert main(["run", blobs.name, "--set", "run_id=first"]) == 0
    return Path("runs/blobs/first/weights/last.safetensors")


def test_a_run_starts_from_pretrained_weights(blobs, weights):
    still = {"model.pretrained": str(weights), "train.optimizer.learning_rate": 0.0}

    begun = fit(blobs, World(), **still)["weights"]

    assert all(torch.equal(tensor, begun[name]) for name, tensor in load_file(weights).items())


def test_reset_tensors_are_reported(blobs, weights, capsys):
    capsys.readouterr()

    assert main(["run", blobs.name, "--set", "model.config.n_classes=3", "--set", f"model.pretrained='{weights}'"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "re-initialised" in line]
    assert len(said) == 1
    assert "in the file, [3" in said[0]
    assert said[0].endswith("are re-initialised: their number of outputs differs")


def test_resume_does_not_read_the_pretrained_file(blobs, weights):
    moved = blobs.parent / "moved.safetensors"
    weights.rename(moved)
    options = ["--set", f"model.pretrained='{moved}'", "--set", "run_id=second"]
    assert main(["run", blobs.name, *options]) == 0

    moved.write_bytes(b"nothing")

    assert main(["run", blobs.name, *options, "--resume", "--set", "train.epoch=3"]) == 0


def test_a_test_does_not_need_the_pretrained_file(blobs, weights):
    moved = weights.rename(blobs.parent / "moved.safetensors")
    assert main(["run", blobs.name, "--set", f"model.pretrained='{moved}'", "--set", "run_id=second"]) == 0

    moved.unlink()

    assert main(["test", "runs/blobs/second"]) == 0


def test_the_resolved_config_has_an_absolute_pretrained_path(blobs, weights):
    assert main(["run", blobs.name, "--set", f"model.pretrained='{weights}'", "--set", "run_id=second"]) == 0

    assert loading.load(Path("runs/blobs/second/config.toml")).run.model.pretrained == str(weights.absolute())


def test_unfitting_weights_are_reported_at_their_key(blobs, capsys):
    torch.save({"odd.weight": torch.zeros(2)}, "odd.pt")

    assert main(["run", blobs.name, "--set", "model.pretrained=odd.pt"]) == 2
    assert (
        "--set 1: model.pretrained: odd.pt fits no tensor of the model: 1 tensor (odd.weight) in the file,"
        in capsys.readouterr().err
    )
    assert not Path("runs").exists()


def test_check_reports_a_missing_pretrained_file(blobs, capsys):
    assert main(["check", blobs.name, "--set", "model.pretrained=lost.pt"]) == 2
    assert "model.pretrained: file lost.pt was not found" in capsys.readouterr().err


def test_lazy_layers_load_pretrained_weights(blobs, caplog):
    text = blobs.read_text().replace("tinynet", "lazynet")
    blobs.write_text(text)
    trainer = builder.build_trainer(loading.load(blobs), manager.load().registry, World())
    torch.save(trainer.model.state_dict(), "lazy.pt")

    with caplog.at_level(logging.WARNING):
        overrides = loading.named_overrides({"model.pretrained": "lazy.pt", "seed": 9})
        again = builder.build_trainer(loading.load(blobs, overrides), manager.load().registry, World())

    assert same(trainer.model.state_dict(), again.model)
    assert not caplog.records


def test_tied_weights_need_one_name(tmp_path):
    there, here = (nn.ModuleDict({"first": nn.Linear(3, 3), "body": nn.Linear(3, 3)}) for _ in range(2))
    for model in (there, here):
        model["body"].weight = model["first"].weight
    save_model(there, tmp_path / "tied.safetensors")

    assert load_matching(here, read_weights(tmp_path / "tied.safetensors")) == []
    assert same(there.state_dict(), here)


def test_weights_without_num_batches_tracked_are_accepted():
    there, here = models.shufflenet_v2_x0_5(), models.shufflenet_v2_x0_5()
    state = {name: tensor for name, tensor in there.state_dict().items() if not name.endswith("num_batches_tracked")}

    assert load_matching(here, state) == []
