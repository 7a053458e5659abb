"""A seed depends only on its key."""

import random

import numpy as np
import torch

from ddpkit.data.seeding import seed_for, seed_generators


def draw(*key):
    seed_generators(*key)
    return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002 - what other people's transforms draw from


def test_equal_keys_seed_every_generator_equally():
    assert draw("sample", 1, 2, 3) == draw("sample", 1, 2, 3)
    assert all(first != second for first, second in zip(draw("sample", 1, 2, 3), draw("sample", 1, 3, 2), strict=True))


def test_seeds_do_not_change_between_versions():
    assert seed_for("sample", 1, 2, 3) == 7231141534872555897
    assert seed_for("sample", 0) != seed_for("forward", 0)
