"""Stratification: orders and selections that keep the classes balanced."""

from collections.abc import Sequence

import numpy as np


def spread_classes(order: Sequence[int], labels: Sequence[int], least: int = 1) -> list[int]:
    """Reorder positions so that every section contains each class in proportion. `labels` are indexed by position.

    The i-th of the n samples of a class is placed at (i + 1/2) / n of the length. The samples of a class with fewer than `least`
    samples stay where they are in the order. Samples with the same place keep their order.
    """
    in_order = np.asarray(order, dtype=np.int64)
    _, classes, counts = np.unique(np.asarray(labels)[in_order], return_inverse=True, return_counts=True)
    by_class, sizes = classes.argsort(kind="stable"), counts[classes]
    rank = np.empty_like(in_order)
    rank[by_class] = np.arange(len(in_order)) - np.repeat(counts.cumsum() - counts, counts)
    place = np.where(sizes < least, (np.arange(len(in_order)) + 0.5) / max(len(in_order), 1), (rank + 0.5) / sizes)
    spread: list[int] = in_order[place.argsort(kind="stable")].tolist()
    return spread


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
