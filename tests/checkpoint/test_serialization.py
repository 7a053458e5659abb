"""Files of weights are complete and hold only weights."""

import torch
from torch import nn

from ddpkit.checkpoint.weights import WeightsFolder, load_saved_weights, save_weights


def model(value):
    made = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    nn.init.constant_(made[0].weight, value)
    return made


def test_saved_weights_load_bit_identical(tmp_path):
    first, second = model(1.0), model(2.0)
    first[1].running_mean.fill_(0.3)

    save_weights(first, tmp_path / "w.safetensors")
    load_saved_weights(second, tmp_path / "w.safetensors")

    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]


def test_equal_weights_give_identical_files(tmp_path):
    save_weights(model(1.0).double(), tmp_path / "a")
    made = model(1.0).double()
    load_saved_weights(made, tmp_path / "a")
    save_weights(made, tmp_path / "b")

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_weights_folder_keeps_the_configured_files(tmp_path):
    folder = WeightsFolder(tmp_path, save_best=False, save_last=False, save_interval=2)

    for epoch, is_best in ((1, True), (2, False), (3, False)):
        folder.save_epoch(model(epoch), epoch, is_best=is_best)
    best = model(9.0)
    folder.load_best(best)
    folder.close()

    assert best[0].weight[0, 0] == 1.0
    assert [file.name for file in tmp_path.iterdir()] == ["epoch-0002.safetensors"]
