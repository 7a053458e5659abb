"""Orders in which classes are mixed well."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def spread(order: Sequence[int], labels: Sequence[Hashable]) -> list[int]:
    """Positions rearranged so that every stretch of them holds each class in its share; `labels` are by position.

    The i-th of the n of a class stands at (i + 1/2) / n of the way; what stands at one place keeps its order.
    """
    counts, seen, place = Counter(labels[position] for position in order), Counter[Hashable](), {}
    for position in order:
        label = labels[position]
        place[position] = (seen[label] + 0.5) / counts[label]
        seen[label] += 1
    return sorted(order, key=place.__getitem__)


def kept(n_samples: int, max_samples: int | None, seed: int, labels: Sequence[int] | None = None) -> list[int]:
    """Which of `n_samples` stay, in order: drawn by the seed, of each class one if it can be, then each in its share.

    Args:
        n_samples: How many there are.
        max_samples: How many stay at most; None = all. Raises ValueError below 1.
        seed: Of the draw, from 0.
        labels: The class of each; None where there are none.
    """
    if max_samples is not None and max_samples < 1:
        raise ValueError(f"max_samples is at least 1, got {max_samples}")
    if max_samples is None or max_samples >= n_samples:
        return list(range(n_samples))
    order = np.random.default_rng(seed).permutation(n_samples).tolist()
    if labels is None:
        return sorted(order[:max_samples])
    mixed = spread(order, labels)
    firsts = {labels[position]: position for position in reversed(mixed)}
    return sorted(list(dict.fromkeys([*reversed(firsts.values()), *mixed]))[:max_samples])
