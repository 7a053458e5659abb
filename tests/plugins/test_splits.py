"""Parts that are disjoint, of the size asked for, and the same every time."""

import pytest

from ddpkit_plugins.splits.drawn import train_valid_test_split


def test_the_parts_are_disjoint_and_as_large_as_asked():
    parts = train_valid_test_split(101, seed=1, train=0.7, valid=0.2, test=0.1)

    assert [len(parts[part]) for part in ("train", "valid", "test")] == [71, 20, 10]
    assert sorted(parts["train"] + parts["valid"] + parts["test"]) == list(range(101))


def test_what_the_fractions_leave_is_not_used():
    parts = train_valid_test_split(100, seed=1, train=0.5, valid=0.1)

    assert len(parts["train"] + parts["valid"] + parts["test"]) == 60


def test_random_state_decides_else_the_seed():
    first = train_valid_test_split(50, seed=1)

    assert first == train_valid_test_split(50, seed=2, random_state=1) == train_valid_test_split(50, seed=1)
    assert first != train_valid_test_split(50, seed=2)


def test_without_shuffle_the_order_is_kept():
    parts = train_valid_test_split(10, seed=1, train=0.6, valid=0.2, test=0.2, shuffle=False)

    assert parts == {"train": [0, 1, 2, 3, 4, 5], "valid": [6, 7], "test": [8, 9]}


@pytest.mark.parametrize("fractions", [{"train": 0.9, "valid": 0.2}, {"train": -0.1}])
def test_fractions_that_cannot_be_are_refused(fractions):
    with pytest.raises(ValueError, match="at most 1 together"):
        train_valid_test_split(10, seed=1, **fractions)
