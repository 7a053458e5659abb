"""Weights of a file in a new run: what fits is taken, what does not is said or refused."""

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
from ddpkit.training.pretrained import read, take
from tests.helpers.ranks import fit


class Net(nn.Module):
    """A body, maybe an auxiliary part, and a head."""

    def __init__(self, n_classes=2, width=4, n_channels=3, *, auxiliary=False, deeper=False, head=True):
        super().__init__()
        layers = [nn.Conv2d(n_channels, width, 3), nn.BatchNorm2d(width), *([nn.Conv2d(width, width, 1)] if deeper else [])]
        self.body = nn.Sequential(*layers)
        if auxiliary:
            self.auxiliary = nn.Linear(width, 2)
        if head:
            self.head = nn.Linear(width, n_classes)


def same(state, model, but=()):
    """The names of the tensors that differ are those."""
    mine = model.state_dict()
    return {name for name, tensor in mine.items() if not torch.equal(tensor, state.get(name, torch.empty(0)))} == set(but)


HEAD = ("head.weight", "head.bias")


@pytest.mark.parametrize(
    ("there", "here", "fresh", "said"),
    [
        (Net(), Net(), (), []),
        (Net(n_classes=5), Net(n_classes=2), HEAD, ["2 tensors (head.weight ([5, 4] there, [2, 4] here), head.bias ([5] there, [2] here)) begin anew, with another number of outputs"]),
        (Net(head=False), Net(), HEAD, ["2 tensors (head.weight, head.bias) begin anew, the file has no such part"]),
        (Net(auxiliary=True), Net(), (), ["2 tensors (auxiliary.weight, auxiliary.bias) are left out, the model has no such part"]),
    ],
)  # fmt: skip
def test_a_head_begins_anew_and_whole_parts_may_lack_and_both_are_said(there, here, fresh, said):
    state = {name: tensor.clone() for name, tensor in there.state_dict().items()}

    assert take(here, dict(state)) == said
    assert same(state, here, but=fresh)


@pytest.mark.parametrize(("there", "here"), [(3, 1), (3, 4), (1, 3)])
def test_a_first_convolution_is_fitted_to_the_channels_of_the_images_and_it_is_said(there, here):
    state, model = Net(n_channels=there).state_dict(), Net(n_channels=here)

    said = f"body.0.weight ([4, {there}, 3, 3] there, [4, {here}, 3, 3] here) is summed or repeated,"
    assert take(model, dict(state))[0].startswith(said)
    assert same(state | {"body.0.weight": for_channels(state["body.0.weight"], here)}, model)


@pytest.mark.parametrize(
    ("there", "here", "message"),
    [
        (Net(deeper=True), Net(), r"2 tensors \(body.2.weight, body.2.bias\) are unknown to the model; take the model"),
        (Net(), Net(deeper=True), r"2 tensors \(body.2.weight, body.2.bias\) are missing; take the model"),
        (Net(width=8), Net(), r"7 tensors .body.0.weight .\[8, 3, 3, 3\] there, \[4, 3, 3, 3\] here., body.0.bias .*, \.\.\.. have another shape"),
        (nn.Linear(4, 2), Net(), r"has nothing that fits the model: 2 tensors \(weight, bias\) there, 9 tensors \(body.0.weight, body.0.bias, body.1.weight, ...\) here"),
        (nn.Sequential(nn.Linear(4, 2)), nn.Sequential(nn.Linear(4, 3)), "has nothing that fits"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_this_model_is_refused_by_name(there, here, message):
    with pytest.raises(ValueError, match=message):
        take(here, there.state_dict())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_the_prefix_of_a_wrapper_is_taken_off(prefix):
    there, here = Net(), Net()

    assert take(here, {prefix + name: tensor for name, tensor in there.state_dict().items()}) == []
    assert same(there.state_dict(), here)


def test_the_prefix_stays_where_the_model_has_it():
    there, here = (nn.ModuleDict({"module": Net()}) for _ in range(2))

    assert take(here, there.state_dict()) == []


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "under.pt", "below.pth"])
def test_files_of_both_formats_are_read(tmp_path, name):
    state = Net().state_dict()
    kept = {"under.pt": {"state_dict": state, "epoch": 3}, "below.pth": {"model": state, "optimizer": {}}}
    save_file(state, tmp_path / name) if name.endswith("safetensors") else torch.save(kept.get(name, state), tmp_path / name)

    found = read(tmp_path / name)

    assert all(torch.equal(tensor, found[key]) for key, tensor in state.items())


class Trap:
    """A pickle that runs something."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"no weights", "cannot be read as weights"),
        ("w.pt", b"no weights", "cannot be read as weights"),
        ("w.pt", b"", "cannot be read as weights"),
        ("w.pt", b"hello world", "cannot be read as weights"),
        ("w.pt", Trap(), "cannot be read as weights"),
        ("w.pt", Net(), "cannot be read as weights"),
        ("w.pt", [torch.zeros(2)], "holds no tensors by name; give a state dict, by itself or under 'state_dict' or 'model'"),
        ("w.pt", {"epoch": 3}, "holds no tensors by name"),
        ("w.pt", {1: torch.zeros(2)}, "holds no tensors by name"),
        ("w.pt", {}, "has nothing that fits"),
    ],
)
def test_a_file_without_weights_is_refused_and_nothing_in_it_is_run(tmp_path, monkeypatch, name, content, message):
    monkeypatch.chdir(tmp_path)
    if isinstance(content, bytes):
        Path(name).write_bytes(content)
    else:
        torch.save(content, name)

    with pytest.raises(ValueError, match=message):
        take(Net(), read(Path(name)))
    assert not Path("sprung").exists()


# --- in a run ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(blobs):
    """Of a run of blobs, which has ended."""
    assert main(["run", blobs.name, "--set", "run_id=first"]) == 0
    return Path("runs/blobs/first/weights/last.safetensors")


def test_a_run_begins_with_the_weights_of_another(blobs, weights):
    still = {"model.pretrained": str(weights), "train.optimizer.learning_rate": 0.0}

    begun = fit(blobs, World(), **still)["weights"]

    assert all(torch.equal(tensor, begun[name]) for name, tensor in load_file(weights).items())


def test_what_begins_anew_is_said(blobs, weights, capsys):
    capsys.readouterr()

    assert main(["run", blobs.name, "--set", "model.config.n_classes=3", "--set", f"model.pretrained='{weights}'"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "begin anew," in line]
    assert len(said) == 1
    assert "there, [3" in said[0]
    assert said[0].endswith("begin anew, with another number of outputs")


def test_a_run_that_goes_on_does_not_read_the_file_again(blobs, weights):
    moved = blobs.parent / "moved.safetensors"
    weights.rename(moved)
    options = ["--set", f"model.pretrained='{moved}'", "--set", "run_id=second"]
    assert main(["run", blobs.name, *options]) == 0

    moved.write_bytes(b"nothing")

    assert main(["run", blobs.name, *options, "--resume", "--set", "train.epoch=3"]) == 0


def test_the_resolved_config_names_the_file_from_anywhere(blobs, weights):
    assert main(["run", blobs.name, "--set", f"model.pretrained='{weights}'", "--set", "run_id=second"]) == 0

    assert loading.load(Path("runs/blobs/second/config.toml")).run.model.pretrained == str(weights.absolute())


def test_weights_that_do_not_fit_are_a_mistake_at_their_key(blobs, capsys):
    torch.save({"odd.weight": torch.zeros(2)}, "odd.pt")

    assert main(["run", blobs.name, "--set", "model.pretrained=odd.pt"]) == 2
    assert (
        "--set 1: model.pretrained: odd.pt has nothing that fits the model: 1 tensor (odd.weight) there,"
        in capsys.readouterr().err
    )
    assert not Path("runs").exists()


def test_a_file_that_is_not_there_is_found_by_check(blobs, capsys):
    assert main(["check", blobs.name, "--set", "model.pretrained=lost.pt"]) == 2
    assert "model.pretrained: there is no file lost.pt" in capsys.readouterr().err


def test_lazy_layers_take_weights_too(blobs, caplog):
    text = blobs.read_text().replace("tinynet", "lazynet")
    blobs.write_text(text)
    engine = builder.engine(loading.load(blobs), manager.load().registry, World())
    torch.save(engine.model.state_dict(), "lazy.pt")

    with caplog.at_level(logging.WARNING):
        overrides = loading.named_overrides({"model.pretrained": "lazy.pt", "seed": 9})
        again = builder.engine(loading.load(blobs, overrides), manager.load().registry, World())

    assert same(engine.model.state_dict(), again.model)
    assert not caplog.records


def test_tied_weights_need_one_name(tmp_path):
    there, here = (nn.ModuleDict({"first": nn.Linear(3, 3), "body": nn.Linear(3, 3)}) for _ in range(2))
    for model in (there, here):
        model["body"].weight = model["first"].weight
    save_model(there, tmp_path / "tied.safetensors")

    assert take(here, read(tmp_path / "tied.safetensors")) == []
    assert same(there.state_dict(), here)


def test_torchvisions_old_weights_are_read_without_the_counts_of_batches():
    there, here = models.shufflenet_v2_x0_5(), models.shufflenet_v2_x0_5()
    state = {name: tensor for name, tensor in there.state_dict().items() if not name.endswith("num_batches_tracked")}

    assert take(here, state) == []
