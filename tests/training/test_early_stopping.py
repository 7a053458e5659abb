"""Tracking of the best value, and early stopping, for any sequence of values."""

import math

import pytest

from ddpkit.training.early_stopping import BestTracker, EarlyStopping


@pytest.mark.parametrize(
    ("options", "values", "best_epochs"),
    [
        ({}, [3.0, 2.0, 2.5, 1.0], [1, 2, 4]),
        ({}, [1.0, 1.0], [1]),
        ({}, [math.nan, 2.0, math.nan, 1.0], [1, 2, 4]),
        ({}, [math.nan, math.nan, 2.0, math.nan], [1, 2, 3]),
        ({"lower": False}, [math.nan, math.nan, math.nan], [1, 2, 3]),
        ({}, [math.inf, math.inf, 5.0], [1, 3]),
        ({}, [2.0, -math.inf, 1.0], [1, 2]),
        ({"lower": False}, [0.5, 0.4, 0.6, math.nan, 0.7], [1, 3, 5]),
        ({"min_delta": 0.1}, [1.0, 0.95, 0.85, 0.8], [1, 3]),
        ({"lower": False, "min_delta": 0.1}, [0.5, 0.55, 0.7], [1, 3]),
    ],
)
def test_each_better_value_is_best_and_without_values_the_last_epoch(options, values, best_epochs):
    best = BestTracker("valid/x", **options)

    assert [epoch for epoch, value in enumerate(values, start=1) if best.update({"valid/x": value}, epoch)] == best_epochs
    assert best.epoch == best_epochs[-1]


@pytest.mark.parametrize(
    ("patience", "values", "last"),
    [
        (2, [3.0, 2.0, 2.1, 2.2, 1.0], 4),
        (1, [1.0, 0.5, 0.5, 0.1], 3),
        (3, [1.0, 2.0, 2.0], None),
        (2, [1.0, math.nan, math.nan, math.nan], None),
        (2, [math.nan, math.nan, math.nan], None),
        (3, [0.3, math.nan, math.nan, 0.4, 0.1], 4),
        (1, [1.0, math.nan, 0.5, math.nan, 0.6], 5),
    ],
)
def test_early_stopping_ends_after_patience_epochs(patience, values, last):
    stopping = EarlyStopping(BestTracker("valid/loss"), patience)

    over = [epoch for epoch, value in enumerate(values, start=1) if stopping.should_stop({"valid/loss": value}, epoch)]

    assert (over or [None])[0] == last
