"""Splits by fractions, at random or in order."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpkit_plugins.splits.groups import read_grouping
from ddpkit_plugins.stratify import spread_classes


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
    """Return the positions 0..n_samples-1 of each split, by fractions; the result is the same on every rank.

    Args:
        n_samples: Number of samples to divide; passed by the run.
        seed: Seed of the run; passed by the run.
        targets: Class of each sample, or None; passed by the run.
        groups: Groupings of the samples, or None; passed by the run.
        own_groups: Groupings of the samples in each of the dataset's own splits; passed by the run.
        train: Fraction from 0 to 1. `train`, `valid` and `test` add up to at most 1; the remaining samples are not used.
        valid: Fraction of the validation samples, see `train`.
        test: Fraction of the test samples, see `train`.
        shuffle: Draw the splits at random; else they are in order: first training, then validation, then test samples.
        random_state: Seed of the random order, at least 0. Absent: the seed of the run.
        stratify: Give each split the class proportions of the dataset, which must have one class per sample in `targets`.
        group: Keep all samples of a group, such as a patient, in one split. The value is a column of the dataset's table, or a
            pattern with one group in parentheses that is searched for in the file names, such as `"(patient[0-9]+)_"`. The
            sizes of the splits are then only as close to the fractions as the groups allow.

    Raises:
        ValueError: A fraction or the seed is out of range, the dataset has no classes or groups, or a split gets no group.
    """
    fractions = {"train": train, "valid": valid, "test": test}
    if min(fractions.values()) < 0 or sum(fractions.values()) > 1 + 1e-9:
        raise ValueError(f"the fractions must be at least 0 and add up to at most 1; got {fractions}")
    order = draw_splits(n_samples, seed if random_state is None else random_state) if shuffle else range(n_samples)
    labels = classes_to_stratify(targets, n_samples) if stratify else None
    wanted = {split: fraction for split, fraction in fractions.items() if fraction}
    found = dict(zip(wanted, divide(order, list(wanted.values()), labels, read_grouping(group, groups, own_groups)), strict=True))
    return {split: found.get(split, []) for split in fractions}


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
    """Return the positions of the training and validation samples of one fold; the result is the same on every rank.

    Fold number `fold` is for validation, the others are for training. Over all folds, each sample is in one validation split.

    Args:
        n_samples: Number of samples to divide; passed by the run.
        seed: Seed of the run; passed by the run.
        targets: Class of each sample, or None; passed by the run.
        groups: Groupings of the samples, or None; passed by the run.
        own_groups: Groupings of the samples in each of the dataset's own splits; passed by the run.
        n_splits: Number of folds, at least 2 and at most the number of samples.
        fold: Number of the fold for validation, 0 to `n_splits` - 1.
        shuffle: Draw the folds at random; else they are in order.
        random_state: Seed of the random order, at least 0. Absent: the seed of the run. Use the same seed for all folds of an
            experiment.
        stratify: Give each fold the class proportions of the dataset, which must have one class per sample in `targets`.
        group: Keep the samples of a group in one fold, see `train_valid_test_split`.

    Raises:
        ValueError: A number is out of range, the dataset has no classes or groups, or a fold gets no group.
    """
    if not 2 <= n_splits <= n_samples or not 0 <= fold < n_splits:  # noqa: PLR2004
        limits = f"n_splits must be between 2 and the number of samples ({n_samples}), and fold between 0 and n_splits - 1"
        raise ValueError(f"{limits}; got {n_splits} and {fold}")
    order = draw_splits(n_samples, seed if random_state is None else random_state) if shuffle else range(n_samples)
    labels = classes_to_stratify(targets, n_samples) if stratify else None
    folds = divide(order, [1 / n_splits] * n_splits, labels, read_grouping(group, groups, own_groups))
    return {"train": [position for other in folds if other is not folds[fold] for position in other], "valid": folds[fold]}


def draw_splits(n_samples: int, random_state: int) -> list[int]:
    """Return the positions in random order. Raises ValueError for a seed below 0."""
    if random_state < 0:
        raise ValueError(f"random_state must be at least 0; got {random_state}")
    order: list[int] = np.random.default_rng(random_state).permutation(n_samples).tolist()
    return order


def classes_to_stratify(targets: Any, n_samples: int) -> list[int]:
    """Return the class of each sample as a number. Raises ValueError if the dataset has no classes."""
    classes = np.asarray([] if targets is None else targets)
    if classes.shape != (n_samples,) or classes.dtype.kind not in "iub":
        raise ValueError("stratify requires a dataset whose 'targets' have one class per sample; remove 'stratify'")
    numbers: list[int] = np.unique(classes, return_inverse=True)[1].tolist()
    return numbers


def divide(
    order: Sequence[int], fractions: Sequence[float], labels: Sequence[int] | None, groups: Sequence[str] | None
) -> list[list[int]]:
    """Divide an order by fractions. With labels, the splits keep the class proportions; with groups, groups stay together."""
    if groups is not None:
        return divide_groups(order, fractions, labels or [0] * len(groups), groups)
    if labels is not None:
        order = spread_classes(order, labels)
    ends = [round(sum(fractions[: number + 1]) * len(order)) for number in range(len(fractions))]
    return [list(order[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def divide_groups(
    order: Sequence[int], fractions: Sequence[float], labels: Sequence[int], groups: Sequence[str]
) -> list[list[int]]:
    """Assign whole groups to splits, the largest group first. Raises ValueError if a split gets none.

    Each group goes to the split for which the squared distance between actual and desired class counts falls most.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position in order:
        members[groups[position]].append(position)
    unused = max(1 - sum(fractions), 0)
    shares = [*fractions, *([unused] if unused > 1e-9 else [])]  # noqa: PLR2004 - rounding
    lacking = np.outer(shares, np.bincount(labels))
    splits: list[list[int]] = [[] for _ in shares]
    for group in sorted(members.values(), key=len, reverse=True):
        brings = np.bincount([labels[position] for position in group], minlength=lacking.shape[1])
        split = int((lacking @ brings).argmax())
        lacking[split] -= brings
        splits[split] += group
    if members and not all(splits[: len(fractions)]):
        raise ValueError(f"{len(members)} groups are too few: a split got no group")
    return splits[: len(fractions)]
