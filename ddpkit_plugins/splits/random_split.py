"""Splits by fractions, at random or in order."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpkit_plugins.splits.groups import grouping
from ddpkit_plugins.stratify import spread


def train_valid_test_split(  # noqa: PLR0913 - keys of the TOML
    n_samples: int,
    seed: int,
    targets: Any = None,
    groups: Any = None,
    own_groups: Any = None,
    *,
    train: float = 0.8,
    valid: float = 0.1,
    test: float = 0.0,
    shuffle: bool = True,
    random_state: int | None = None,
    stratify: bool = False,
    group: str | None = None,
) -> dict[str, list[int]]:
    """Positions 0..n_samples-1 of each part; the same on every rank.

    Args:
        n_samples: How many there are to divide; given by the run.
        seed: The run's; given by the run.
        targets: The class of each, or None; given by the run.
        groups: What they may be grouped by, or None; given by the run.
        own_groups: The same of the samples in each part of the dataset's own; given by the run.
        train: Fraction, 0..1, as `valid` and `test`; together at most 1. What they leave is not used.
        valid: See `train`.
        test: See `train`.
        shuffle: Draw at random; else the first train, the next validate, the last test.
        random_state: Seed of the draw, from 0; absent = the run's.
        stratify: Each part has each class in its share.
        group: Samples of one group, a patient say, are in one part: a column of the dataset's table, or a pattern with one
            group in parentheses that is looked for in the names of files, as in `"(patient[0-9]+)_"`. Parts are then as large
            as the groups allow.
    """
    fractions = {"train": train, "valid": valid, "test": test}
    if min(fractions.values()) < 0 or sum(fractions.values()) > 1 + 1e-9:
        raise ValueError(f"the fractions are 0 or more and at most 1 together, got {fractions}")
    order = drawn(n_samples, seed if random_state is None else random_state) if shuffle else range(n_samples)
    labels = classes_of(targets, n_samples) if stratify else None
    wanted = {part: fraction for part, fraction in fractions.items() if fraction}
    found = dict(zip(wanted, divided(order, list(wanted.values()), labels, grouping(group, groups, own_groups)), strict=True))
    return {part: found.get(part, []) for part in fractions}


def kfold(  # noqa: PLR0913 - keys of the TOML
    n_samples: int,
    seed: int,
    targets: Any = None,
    groups: Any = None,
    own_groups: Any = None,
    *,
    n_splits: int = 5,
    fold: int = 0,
    shuffle: bool = True,
    random_state: int | None = None,
    stratify: bool = False,
    group: str | None = None,
) -> dict[str, list[int]]:
    """Fold number `fold` validates, the others train: over all folds, each sample validates once.

    Args:
        n_samples: How many there are to divide; given by the run.
        seed: The run's; given by the run.
        targets: The class of each, or None; given by the run.
        groups: What they may be grouped by, or None; given by the run.
        own_groups: The same of the samples in each part of the dataset's own; given by the run.
        n_splits: How many folds, at least 2.
        fold: Which of them validates, 0 to `n_splits` - 1.
        shuffle: Draw at random; else folds are in order.
        random_state: Seed of the draw, from 0; absent = the run's. The same for all folds of one experiment.
        stratify: Each fold has each class in its share.
        group: As of `train_valid_test_split`.
    """
    if not 2 <= n_splits <= n_samples or not 0 <= fold < n_splits:  # noqa: PLR2004
        limits = f"n_splits is 2 to the {n_samples} samples, fold 0 to n_splits - 1"
        raise ValueError(f"{limits}; got {n_splits} and {fold}")
    order = drawn(n_samples, seed if random_state is None else random_state) if shuffle else range(n_samples)
    labels = classes_of(targets, n_samples) if stratify else None
    folds = divided(order, [1 / n_splits] * n_splits, labels, grouping(group, groups, own_groups))
    return {"train": [position for other in folds if other is not folds[fold] for position in other], "valid": folds[fold]}


def drawn(n_samples: int, random_state: int) -> list[int]:
    """A random order. Raises ValueError for a seed below 0."""
    if random_state < 0:
        raise ValueError(f"random_state is 0 or more, got {random_state}")
    order: list[int] = np.random.default_rng(random_state).permutation(n_samples).tolist()
    return order


def classes_of(targets: Any, n_samples: int) -> list[int]:
    """The class of each sample, as a number. Raises ValueError where the dataset does not tell."""
    classes = np.asarray([] if targets is None else targets)
    if classes.shape != (n_samples,) or classes.dtype.kind not in "iub":
        raise ValueError("stratify needs a dataset whose 'targets' are one class a sample; leave it out")
    numbers: list[int] = np.unique(classes, return_inverse=True)[1].tolist()
    return numbers


def divided(
    order: Sequence[int], fractions: Sequence[float], labels: Sequence[int] | None, groups: Sequence[str] | None
) -> list[list[int]]:
    """An order cut by fractions: each class in its share if there are labels, groups kept together if there are groups."""
    if groups is not None:
        return by_groups(order, fractions, labels or [0] * len(groups), groups)
    if labels is not None:
        order = spread(order, labels)
    ends = [round(sum(fractions[: number + 1]) * len(order)) for number in range(len(fractions))]
    return [list(order[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def by_groups(order: Sequence[int], fractions: Sequence[float], labels: Sequence[int], groups: Sequence[str]) -> list[list[int]]:
    """Whole groups, the largest first, each to the part that lacks most of what it brings.

    "Lacks most": where the squared distance of all parts' class counts to what is wanted falls most. Raises ValueError when
    a part gets none.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position in order:
        members[groups[position]].append(position)
    left = max(1 - sum(fractions), 0)
    shares = [*fractions, *([left] if left > 1e-9 else [])]  # noqa: PLR2004 - rounding
    lacking = np.outer(shares, np.bincount(labels))
    parts: list[list[int]] = [[] for _ in shares]
    for group in sorted(members.values(), key=len, reverse=True):
        brings = np.bincount([labels[position] for position in group], minlength=lacking.shape[1])
        part = int((lacking @ brings).argmax())
        lacking[part] -= brings
        parts[part] += group
    if members and not all(parts[: len(fractions)]):
        raise ValueError(f"{len(members)} groups are too few: a part got none of them")
    return parts[: len(fractions)]
