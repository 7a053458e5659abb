"""The model summary of a run folder, computed without changing the run."""

import json
import math
import random

import pytest
import torch
from torch import nn
from torchvision import models

from ddpkit.cli.main import main
from ddpkit.config import loading, schema
from ddpkit.distributed.world import World
from ddpkit.plugins import manager
from ddpkit.runs import folder as run_folder
from ddpkit.runs import model_summary
from ddpkit.training import builder
from ddpkit.training.precision import Precision


@pytest.fixture
def trainer(blobs):
    """The trainer of a model with BatchNorm."""
    blobs.write_text(blobs.read_text().replace("tinynet", "normnet"))
    return builder.build_trainer(loading.load(blobs), manager.load().registry, World())


def cost_of(model, size, dtype=torch.float32):
    """The cost of a model on any device."""
    return model_summary.measure_cost(
        model_summary.copy_to_meta(model).eval(), torch.empty(size, device="meta"), Precision(dtype)
    )


class Net(nn.Module):
    """Calls a layer twice, and has a parameter outside of its layers."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))
        self.inside = nn.Sequential(nn.Linear(6, 6, bias=False), nn.ReLU())
        self.head = nn.Linear(6, 2)

    def forward(self, images):
        return self.head(self.inside(self.inside(images) @ torch.diag(self.scale)))


def test_flops_and_activation_bytes_match_manual_counts():
    cost, _ = cost_of(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)), [5, 3, 6, 6])

    assert cost.flops == 2 * 5 * (4 * 3 * 9 * 16 + 64 * 2)
    assert cost.activation_bytes == 4 * 5 * (3 * 36 + 4 * 16)  # the image for the convolution, what ReLU makes for both others


def test_frozen_layers_keep_no_activations():
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)).requires_grad_(False)  # noqa: FBT003 - torch's
    model[2].weight.requires_grad = True

    assert cost_of(model, [5, 8])[0].activation_bytes == 4 * 5 * 8


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v3_small", "densenet121", "vit_b_16", "swin_t"])
def test_flops_of_known_models_match_published_values(arch):
    with torch.device("meta"):
        cost, _ = cost_of(models.get_model(arch), [1, 3, 224, 224])

    published = models.get_model_weights(arch).DEFAULT.meta["_ops"]  # billions of multiplications
    assert cost.flops / 2e9 == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize("model", [Net(), models.vit_b_32(num_classes=3), models.shufflenet_v2_x0_5()])
def test_layers_sum_up_to_the_model(model):
    found = model_summary.summarise(model)
    ghost = model_summary.copy_to_meta(model).eval()
    cost, flops = model_summary.measure_cost(
        ghost, torch.empty(2, *([6] if isinstance(model, Net) else [3, 224, 224]), device="meta"), Precision(torch.float32)
    )

    assert sum(each.parameters for each in found.layers) == found.parameters == sum(each.numel() for each in model.parameters())
    own_flops = model_summary.subtract_children(flops, ghost)
    assert sum(own_flops[each.name] for each in found.layers if each.name) == cost.flops - own_flops[""]
    assert min(own_flops.values()) >= 0


def test_a_layer_called_twice_counts_twice():
    ghost = model_summary.copy_to_meta(Net()).eval()
    _, flops = model_summary.measure_cost(ghost, torch.empty(5, 6, device="meta"), Precision(torch.float32))

    assert model_summary.subtract_children(flops, ghost) == {
        "": 2 * 5 * 36,
        "inside": 0,
        "inside.0": 2 * 2 * 5 * 36,
        "inside.1": 0,
        "head": 2 * 5 * 12,
    }


def test_counting_does_not_change_the_run(trainer, tmp_path):
    trainer.set_train_mode()
    trainer.model[-1].eval()
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    modes = [layer.training for layer in trainer.model.modules()]
    state = torch.get_rng_state(), random.getstate()

    found, _ = write_summary(trainer, tmp_path, input_sizes=[[2, 1, 8, 8]])

    assert found["inputs"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())
    assert [layer.training for layer in trainer.model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert not any(layer._forward_hooks for layer in trainer.model.modules())


def write_summary(trainer, folder, **table):
    """Write the summary; returns the content of both files."""
    model = schema.Model(name="any", config=schema.ModelConfig(**table))
    model_summary.write_summary(trainer, model, run_folder.RunFolder(folder))
    return json.loads((folder / "model.json").read_text()), (folder / "model.txt").read_text()


def test_each_input_size_is_counted_in_its_dtype(trainer, tmp_path):
    found, text = write_summary(trainer, tmp_path, input_sizes=[[1, 1, 8, 8], [3, 1, 8, 8]], dtypes=["float32", "float64"])

    one, three = found["inputs"]
    assert [one["size"], one["dtype"]] == [[1, 1, 8, 8], "float32"]
    assert [three["size"], three["dtype"]] == [[3, 1, 8, 8], "float64"]
    assert 3 * one["flops"] == three["flops"] > 0
    assert found["layers"][-1]["output"][0] == 1
    assert "[3, 1, 8, 8] float64: " in text


def test_costs_are_measured_in_eval_mode(trainer, tmp_path):
    trainer.model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2)).train()

    found, _ = write_summary(trainer, tmp_path, input_sizes=[[1, 4]])

    assert found["inputs"][0]["activation_bytes"] == 4 * (4 + 4)  # and no mask


def test_without_input_sizes_a_real_sample_is_used(trainer, tmp_path):
    found, _ = write_summary(trainer, tmp_path)

    assert found["inputs"][0]["size"] == [1, *trainer.loader.sample(1)[0].shape[1:]]


class Choosy(nn.Linear):
    """Its control flow depends on input values."""

    def forward(self, images):
        return super().forward(images) if images.sum() > 0 else images


def test_an_uncountable_model_is_described_without_costs(trainer, tmp_path):
    trainer.model = nn.Sequential(Choosy(4, 2))

    found, text = write_summary(trainer, tmp_path, input_sizes=[[1, 4]])

    assert found["inputs"] == []
    assert found["layers"] == [
        {"name": "0", "type": "Choosy", "parameters": 10, "trained": 10, "output": None, "flops": None}
    ]  # fmt: skip
    assert (
        text
        == "Sequential: 10 parameters, 10 of them trainable\n\nlayer  type    output  parameters  trained  FLOPs\n0      Choosy  -       10          10       -\n"
    )


def test_the_summary_of_a_run_shows_trained_parameters(blobs, capsys):
    assert main(["run", blobs.name, "--set", "run_id=first", "--set", "model.freeze=[{match='1.*', until=1}]"]) == 0

    found = json.loads((blobs.parent / "runs/blobs/first/model.json").read_text())
    frozen = next(each for each in found["layers"] if each["name"] == "1")
    assert frozen["trained"] == 0 < frozen["parameters"]
    assert found["parameters"] - found["trained"] == frozen["parameters"] == found["frozen_until"]["1"]
    assert "\n1,040 parameters are frozen until epoch 1\n" in (blobs.parent / "runs/blobs/first/model.txt").read_text()
    assert "freeze  1040 parameters (1.*) until epoch 1\n" in capsys.readouterr().err
    assert math.prod(found["inputs"][0]["size"]) > 0
