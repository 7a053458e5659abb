"""Stratification: orders and selections that keep the classes balanced."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def spread_classes(order: Sequence[int], labels: Sequence[Hashable]) -> list[int]:
    """Reorder positions so that every section contains each class in proportion. `labels` are indexed by position.

    The i-th of the n samples of a class is placed at (i + 1/2) / n of the length. Samples with the same place keep their order.
    """
    counts, seen, place = Counter(labels[position] for position in order), Counter[Hashable](), {}
    for position in order:
        label = labels[position]
        place[position] = (seen[label] + 0.5) / counts[label]
        seen[label] += 1
    return sorted(order, key=place.__getitem__)


def select_stratified(n_samples: int, max_samples: int | None, seed: int, labels: Sequence[int] | None = None) -> list[int]:
    """Select samples at random, and return their indices in ascending order.

    Each class keeps at least one sample if possible; the other samples keep the class proportions. Raises ValueError if
    `max_samples` is below 1.

    Args:
        n_samples: Number of samples to select from.
        max_samples: Maximum number of selected samples; None: all.
        seed: Seed of the selection, at least 0.
        labels: Class of each sample; None: no classes.
    """
    if max_samples is not None and max_samples < 1:
        raise ValueError(f"max_samples must be at least 1; got {max_samples}")
    if max_samples is None or max_samples >= n_samples:
        return list(range(n_samples))
    order = np.random.default_rng(seed).permutation(n_samples).tolist()
    if labels is None:
        return sorted(order[:max_samples])
    mixed = spread_classes(order, labels)
    firsts = {labels[position]: position for position in reversed(mixed)}
    return sorted(list(dict.fromkeys([*reversed(firsts.values()), *mixed]))[:max_samples])
