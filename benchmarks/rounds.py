"""Interleaved measurements: the speed of a machine changes over time, so only values of the same round are compared."""

import time
from collections.abc import Callable, Mapping, Sequence

import attrs


@attrs.frozen
class Cost:
    """CPU and wall-clock seconds of one call."""

    cpu: float
    wall: float


def cost_of(call: Callable[[], object]) -> Cost:
    """Measure a call in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def nothing() -> None:
    """Do nothing before a measurement; default of `interleaved`."""


def interleaved(
    candidates: Mapping[str, Callable[[], object]], n_rounds: int, before: Callable[[], object] = nothing
) -> dict[str, list[Cost]]:
    """Measure each candidate once per round, in reverse order in odd rounds; the first round is a warm-up and is dropped.

    `before` is called before each measurement, for example to synchronise the ranks.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in candidates}
    for number in range(n_rounds + 1):
        for name in reversed(candidates) if number % 2 else candidates:
            before()
            cost = cost_of(candidates[name])
            if number:
                costs[name].append(cost)
    return costs


def ratios(costs: Sequence[float], bases: Sequence[float]) -> list[float]:
    """Return the ratios of costs to base costs, one per round."""
    return [cost / base for cost, base in zip(costs, bases, strict=True)]
