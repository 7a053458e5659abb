"""Numbers that loggers accept."""

import math
from collections.abc import Mapping

from ddpkit import TestResult


def finite_numbers(row: Mapping[str, float]) -> dict[str, float]:
    """Return the finite values of a row, without the epoch."""
    return {key: value for key, value in row.items() if key != "epoch" and math.isfinite(value)}


def result_numbers(result: TestResult) -> dict[str, float]:
    """Return the finite metrics of a test, under names such as `test/loss`."""
    return finite_numbers({f"test/{name}": value for name, value in result.metrics.items()})
