"""Splits by fractions, at random or in order."""

import itertools
import logging
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from ddpkit_plugins.splits.groups import read_grouping
from ddpkit_plugins.stratify import spread_classes

LOGGER = logging.getLogger("ddpkit.split")
SHOWN = 5
"""Maximum number of classes in a message."""
FEW, SEVERAL = 20, 3
"""Number of labels that are always classes, and number of samples that most of more classes have at least."""
REST = 0.1
"""Default fraction of the validation samples, and of the test samples."""


def train_valid_test_split(  # noqa: PLR0913 - keys of the TOML
    n_samples: int,
    seed: int,
    targets: Any = None,
    groups: Any = None,
    own_groups: Any = None,
    classes: Sequence[str] = (),
    *,
    train: float | None = None,
    valid: float | None = None,
    test: float | None = None,
    shuffle: bool = True,
    random_state: int | None = None,
    stratify: bool | None = None,
    group: str | None = None,
) -> dict[str, list[int]]:
    """Return the positions 0..n_samples-1 of each split, by fractions; the result is the same on every rank.

    If no fraction is set, `valid` and `test` are 0.1 each and `train` is the rest. A split that the dataset has itself gets
    nothing, so a dataset with its own test split is divided into 0.9 and 0.1. If any fraction is set, the absent ones are 0.

    Args:
        n_samples: Number of samples to divide; passed by the run.
        seed: Seed of the run; passed by the run.
        targets: Class of each sample, or None; passed by the run.
        groups: Groupings of the samples, or None; passed by the run.
        own_groups: Groupings of the samples in each of the dataset's own splits; passed by the run.
        classes: Names of the classes, for messages; passed by the run.
        train: Fraction from 0 to 1. `train`, `valid` and `test` add up to at most 1; the remaining samples are not used.
        valid: Fraction of the validation samples, see `train`.
        test: Fraction of the test samples, see `train`.
        shuffle: Draw the splits at random; else they are in order: first training, then validation, then test samples.
        random_state: Seed of the random order, at least 0. Absent: the seed of the run.
        stratify: Give each split the class proportions of the dataset, which must have one class per sample in `targets`. Absent:
            yes, if the dataset has such classes and `shuffle` is true. A class with fewer samples than there are splits is placed
            at random.
        group: Keep all samples of a group, such as a patient, in one split. The value is a column of the dataset's table, or a
            pattern with one group in parentheses that is searched for in the file names, such as `"(patient[0-9]+)_"`. The
            sizes of the splits are then only as close to the fractions as the groups allow.

    Raises:
        ValueError: A fraction or the seed is out of range, the dataset has no classes or groups, or a split gets no group.
    """
    fractions = complete_fractions({"train": train, "valid": valid, "test": test}, own_groups or {})
    if min(fractions.values()) < 0 or sum(fractions.values()) > 1 + 1e-9:
        raise ValueError(f"the fractions must be at least 0 and add up to at most 1; got {fractions}")
    order = draw_splits(n_samples, seed if random_state is None else random_state) if shuffle else range(n_samples)
    wanted = {split: fraction for split, fraction in fractions.items() if fraction}
    labels = labels_to_stratify(targets, n_samples, stratify=stratify, shuffle=shuffle)
    warn_about_small_classes(labels, len(wanted), classes)
    found = dict(zip(wanted, divide(order, list(wanted.values()), labels, read_grouping(group, groups, own_groups)), strict=True))
    return {split: found.get(split, []) for split in fractions}


def kfold(  # noqa: PLR0913 - keys of the TOML
    n_samples: int,
    seed: int,
    targets: Any = None,
    groups: Any = None,
    own_groups: Any = None,
    classes: Sequence[str] = (),
    *,
    n_splits: int = 5,
    fold: int = 0,
    shuffle: bool = True,
    random_state: int | None = None,
    stratify: bool | None = None,
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
        classes: Names of the classes, for messages; passed by the run.
        n_splits: Number of folds, at least 2 and at most the number of samples.
        fold: Number of the fold for validation, 0 to `n_splits` - 1.
        shuffle: Draw the folds at random; else they are in order.
        random_state: Seed of the random order, at least 0. Absent: the seed of the run. Use the same seed for all folds of an
            experiment.
        stratify: Give each fold the class proportions of the dataset, see `train_valid_test_split`.
        group: Keep the samples of a group in one fold, see `train_valid_test_split`.

    Raises:
        ValueError: A number is out of range, the dataset has no classes or groups, or a fold gets no group.
    """
    if not 2 <= n_splits <= n_samples or not 0 <= fold < n_splits:  # noqa: PLR2004
        limits = f"n_splits must be between 2 and the number of samples ({n_samples}), and fold between 0 and n_splits - 1"
        raise ValueError(f"{limits}; got {n_splits} and {fold}")
    order = draw_splits(n_samples, seed if random_state is None else random_state) if shuffle else range(n_samples)
    labels = labels_to_stratify(targets, n_samples, stratify=stratify, shuffle=shuffle)
    warn_about_small_classes(labels, n_splits, classes)
    folds = divide(order, [1 / n_splits] * n_splits, labels, read_grouping(group, groups, own_groups))
    return {"train": [position for other in folds if other is not folds[fold] for position in other], "valid": folds[fold]}


def draw_splits(n_samples: int, random_state: int) -> list[int]:
    """Return the positions in random order. Raises ValueError for a seed below 0."""
    if random_state < 0:
        raise ValueError(f"random_state must be at least 0; got {random_state}")
    order: list[int] = np.random.default_rng(random_state).permutation(n_samples).tolist()
    return order


def complete_fractions(given: Mapping[str, float | None], own: Container[str]) -> dict[str, float]:
    """Return the fraction of each split; the defaults if none is given. `own`: splits that the dataset has itself."""
    if any(fraction is not None for fraction in given.values()):
        return {split: fraction or 0.0 for split, fraction in given.items()}
    rest = [split for split in given if split != "train" and split not in own]
    if "train" in own:
        return dict.fromkeys(given, 0.0) | {split: 1 / len(rest) for split in rest}
    return {"train": 1 - REST * len(rest)} | {split: REST if split in rest else 0.0 for split in given if split != "train"}


def labels_to_stratify(targets: Any, n_samples: int, *, stratify: bool | None, shuffle: bool) -> list[int] | None:
    """Return the class of each sample; None if the classes are not used.

    Raises ValueError if `stratify` is true and the dataset has no classes.
    """
    try:
        classes = np.asarray([] if targets is None else targets)
    except (TypeError, ValueError):  # lists of different lengths, a tensor that numpy cannot convert
        classes = np.asarray([])
    if classes.shape == (n_samples,) and classes.dtype.kind in "iub":
        labels: list[int] = classes.astype(np.int64).tolist()
        return labels if stratify or (stratify is None and shuffle and are_classes(labels)) else None
    if stratify:
        raise ValueError("stratify requires a dataset whose 'targets' have one class per sample; remove 'stratify'")
    return None


def are_classes(labels: Sequence[int]) -> bool:
    """Return whether labels are few, or most of them occur several times; ages or other numbers may occur only once."""
    counts = Counter(labels).values()
    return len(counts) <= FEW or sum(count >= SEVERAL for count in counts) * 2 >= len(counts)


def warn_about_small_classes(labels: Sequence[int] | None, n_splits: int, classes: Sequence[str]) -> None:
    """Warn about classes with fewer samples than splits: they cannot be in each of them."""
    counts = {label: count for label, count in sorted(Counter(labels or ()).items()) if count < n_splits}
    if counts:
        names = {label: repr(classes[label]) if 0 <= label < len(classes) else str(label) for label in counts}
        listed = ", ".join(f"{names[label]} ({count})" for label, count in list(counts.items())[:SHOWN])
        more = f" and {len(counts) - SHOWN} more" * (len(counts) > SHOWN)
        message = "classes with fewer samples than the %d splits are placed at random: %s%s; add samples of these classes"
        LOGGER.warning(message, n_splits, listed, more)


def divide(
    order: Sequence[int], fractions: Sequence[float], labels: Sequence[int] | None, groups: Sequence[str] | None
) -> list[list[int]]:
    """Divide an order by fractions. With labels, the splits keep the class proportions; with groups, groups stay together."""
    if groups is not None:
        return divide_groups(order, fractions, labels or [0] * len(groups), groups)
    if labels is not None:
        order = spread_classes(order, labels, least=len(fractions))
    ends = [round(sum(fractions[: number + 1]) * len(order)) for number in range(len(fractions))]
    return [list(order[start:end]) for start, end in itertools.pairwise([0, *ends])]


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
    labels = np.unique(labels, return_inverse=True)[1].tolist()  # numbered without gaps
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
