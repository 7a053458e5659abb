"""A seed depends only on its key."""

import random
from typing import get_args

import numpy as np
import pytest
import torch

from ddpkit.data import seeding
from ddpkit.data.seeding import seed_for, seed_generators
from ddpkit.plugins.component import Draws


def draw(*key):
    seed_generators(*key)
    return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002 - what other people's transforms draw from


def test_equal_keys_seed_every_generator_equally():
    assert draw("sample", 1, 2, 3) == draw("sample", 1, 2, 3)
    assert all(first != second for first, second in zip(draw("sample", 1, 2, 3), draw("sample", 1, 3, 2), strict=True))


def test_seeds_do_not_change_between_versions():
    assert seed_for("sample", 1, 2, 3) == 7231141534872555897
    assert seed_for("sample", 0) != seed_for("forward", 0)


@pytest.mark.parametrize("draws", [(), ("torch",), ("numpy", "python"), tuple(seeding.GENERATORS)])
def test_only_the_generators_that_are_drawn_from_are_seeded(draws):
    def states():
        return {"torch": torch.get_rng_state().tolist(), "numpy": np.random.get_state()[1].tolist(), "python": random.getstate()}  # noqa: NPY002

    seeding.seed_generators("before", 1)
    before = states()
    seeding.seed_generators("forward", 1, 2, draws=draws)

    assert {name for name, state in states().items() if state != before[name]} == {*draws}


def test_components_declare_the_generators_that_are_seeded():
    assert {*get_args(Draws)} == seeding.GENERATORS
