"""A criterion that compares all samples of a micro-batch gives the same training on any number of ranks."""

import math

import pytest
import torch

import ddpkit
from ddpkit.distributed.all_reduce import valid_samples
from ddpkit.distributed.world import World
from tests.helpers.configs import BLOBS
from tests.helpers.ranks import fit

PLUGIN = '''
import ddpkit
import torch
from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_criteria():
    yield Component("contrastive", f"{__name__}:Contrastive")


class Contrastive(torch.nn.Module):
    """Each sample must be more similar to those of its class than to all others of the micro-batch."""

    def forward(self, outputs, targets):
        outputs, targets = ddpkit.all_gather(outputs), ddpkit.all_gather(targets)
        similarity = -torch.cdist(outputs, outputs).square()
        same = (targets[:, None] == targets[None]).double()
        return -(similarity.log_softmax(dim=1) * same / same.sum(dim=1, keepdim=True)).sum(dim=1).mean()
'''
CONTRASTIVE = {
    "criterion": ["contrastive"],
    "metrics": [],
    "dataset.config": {"n": 46, "n_test": 7},  # 37 training samples: the last micro-batch has one sample
    "dataset.split": {"train": 37 / 46, "valid": 9 / 46},
    "train.batch_size": 12,
    "train.scaler.compute_type": "float64",
}


@pytest.fixture(scope="module")
def file(acme, tmp_path_factory):
    folder = tmp_path_factory.mktemp("contrastive")
    (folder / "contrastive_loss.py").write_text(PLUGIN)
    (folder / "x.toml").write_text(f'{BLOBS}[plugins]\nfiles = ["{folder}/contrastive_loss.py"]\n')
    return folder / "x.toml"


def train(world, file):
    return fit(file, world, **CONTRASTIVE)


def test_a_contrastive_loss_trains_three_ranks_like_one(in_world, file, tmp_path):
    alone = train(World(), str(file))

    for found in in_world(3, tmp_path, train, str(file)):
        for name, tensor in alone["weights"].items():
            torch.testing.assert_close(found["weights"][name], tensor, rtol=1e-9, atol=1e-12)
        for mine, theirs in zip(found["rows"], alone["rows"], strict=False):  # only rank 0 has rows
            assert mine == pytest.approx(theirs, rel=1e-9)
    assert alone["rows"][-1]["train/loss"] < alone["rows"][0]["train/loss"]


def gather_rows(world):
    """Rows of all ranks and the gradient of this rank's own ones; the last rank has only a padding sample with NaN."""
    is_padding = world.rank == world.size - 1
    values = torch.full((1 + world.rank, 2), math.nan if is_padding else world.rank + 1.0, requires_grad=True)
    with valid_samples(0 if is_padding else 1 + world.rank):
        rows = ddpkit.all_gather(values)
    (rows * torch.arange(len(rows))[:, None]).sum().backward()
    return rows.detach().tolist(), values.grad.tolist()


def test_rows_are_gathered_in_rank_order_without_padding(in_world, tmp_path):
    first, second, padding = in_world(3, tmp_path, gather_rows)

    assert first[0] == second[0] == padding[0] == [[1, 1], [2, 2], [2, 2]]
    assert first[1] == [[0, 0]]  # each of the three ranks adds its gradient
    assert second[1] == [[3, 3], [6, 6]]
    assert padding[1] == [[0, 0]] * 3


def test_one_process_gathers_its_own_rows():
    values = torch.tensor([[1.0], [2.0]], requires_grad=True)

    assert ddpkit.all_gather(values).equal(values)
    with valid_samples(1):
        assert ddpkit.all_gather(values).tolist() == [[1]]
