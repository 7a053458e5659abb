"""A seed is a function of its key."""

import random

import numpy as np
import torch

from ddpkit.data.seeding import seed_for, seed_generators


def drawn(*key):
    seed_generators(*key)
    return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002 - what other people's transforms draw from


def test_the_same_key_draws_the_same_from_every_generator():
    assert drawn("sample", 1, 2, 3) == drawn("sample", 1, 2, 3)
    assert all(first != second for first, second in zip(drawn("sample", 1, 2, 3), drawn("sample", 1, 3, 2), strict=True))


def test_seeds_are_64_bits_and_do_not_change_between_versions():
    assert seed_for("sample", 1, 2, 3) == 7231141534872555897
    assert seed_for("sample", 0) != seed_for("forward", 0)
