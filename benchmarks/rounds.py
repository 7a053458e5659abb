"""Contestants in turn, round after round: a machine's speed drifts, so only what stands in one round is compared."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import attrs


@attrs.frozen
class Cost:
    """Seconds of one call."""

    cpu: float
    wall: float


def cost_of(call: Callable[[], object]) -> Cost:
    """Of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def nothing() -> None:
    """Before a measurement."""


def interleaved(
    contestants: Mapping[str, Callable[[], object]], n_rounds: int, before: Callable[[], object] = nothing
) -> dict[str, list[Cost]]:
    """Each contestant once a round, odd rounds backwards; a round before the first warms up and is dropped.

    `before` each measurement ranks may meet.
    """
    seen: dict[str, list[Cost]] = {name: [] for name in contestants}
    for number in range(n_rounds + 1):
        for name in reversed(contestants) if number % 2 else contestants:
            before()
            cost = cost_of(contestants[name])
            if number:
                seen[name].append(cost)
    return seen


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """`median [min-max]`."""
    return f"{statistics.median(values):{form}} [{min(values):{form}}-{max(values):{form}}]"


def ratios(costs: Sequence[float], bases: Sequence[float]) -> str:
    """Of each round."""
    return spread([cost / base for cost, base in zip(costs, bases, strict=True)])
