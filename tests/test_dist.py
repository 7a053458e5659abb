"""N ranks give what one gives."""

import pytest
import torch
from blobs import BLOBS
from worlds import fit, in_world

from ddpkit.dist import World

FLOAT64 = {"train.scaler.compute_type": "float64", "train.epoch": 3}
CASES = {
    "even": {"dataset.config.n": 40},
    "uneven last batch": {"dataset.config.n": 45, "dataset.split.train": 0.8},  # 36 samples: 4 in the last batch of 8
    "odd last batch": {"dataset.split": {"train": 35 / 40, "valid": 5 / 40}},  # 35: 3 in the last batch, 2 and 1
    "last batch of one sample": {"dataset.split": {"train": 33 / 40, "valid": 7 / 40}},
    "last batch dropped": {"dataset.split": {"train": 33 / 40, "valid": 7 / 40}, "dataloader.drop_last": True},
    "uneven test set": {"dataset.config.n_test": 13, "test.batch_size": 4},
    "fewer test samples than ranks": {"dataset.config.n_test": 1},
    "accumulation with a tail": {"train.grad_accumulation_steps": 3, "dataset.split": {"train": 33 / 40, "valid": 7 / 40}},
    "two criteria": {
        "criterion": [
            {"type": "cross_entropy"},
            {"type": "cross_entropy", "name": "smooth", "weight": 0.3, "config": {"label_smoothing": 0.1}},
        ]
    },
    "noise and loader workers": {"dataset.config.noise": 0.1, "dataloader.num_workers": 1},
    "adamw and a schedule": {
        "train.optimizer": {"type": "adamw", "learning_rate": 0.01},
        "train.lr_scheduler": {"type": "cosine", "warmup": 1, "update_policy": "step"},
    },
}


def run_cases(world, file):
    return {name: fit(file, world, **FLOAT64, **case) for name, case in CASES.items()}


@pytest.fixture(scope="module")
def results(acme, tmp_path_factory):
    """Each case on one rank and, in one spawned world, on two."""
    folder = tmp_path_factory.mktemp("world")
    file = folder / "blobs.toml"
    file.write_text(BLOBS)
    return run_cases(World(), str(file)), in_world(2, folder, run_cases, str(file))


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_give_what_one_gives(results, case):
    alone, (first, second) = results[0][case], [rank[case] for rank in results[1]]

    assert alone["steps"] >= 6
    for name, tensor in alone["weights"].items():
        torch.testing.assert_close(first["weights"][name], tensor, rtol=1e-9, atol=1e-12)
        assert torch.equal(first["weights"][name], second["weights"][name])
    assert first["tested"] == second["tested"]
    for mine, theirs in zip([*alone["rows"], alone["tested"]], [*first["rows"], first["tested"]], strict=True):
        assert theirs == pytest.approx(mine, rel=1e-9)


def batchnorm_net(world, file):
    return fit(file, world, **{"model.name": "lazynet", "train.epoch": 2})


def test_ranks_evaluate_with_the_same_batchnorm_statistics(acme, tmp_path):
    file = tmp_path / "blobs.toml"
    file.write_text(BLOBS)

    first, second = in_world(2, tmp_path, batchnorm_net, str(file))

    assert first["tested"] == second["tested"]
    for name, tensor in first["weights"].items():
        assert torch.equal(tensor, second["weights"][name]), name
