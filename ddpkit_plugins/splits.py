"""Which samples train, which validate, which test."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_splits() -> Iterator[Component]:
    """The splits."""
    yield Component("train_valid_test_split", "ddpkit_plugins.splits:train_valid_test_split", doc="by fractions")


def train_valid_test_split(
    n_samples: int,
    seed: int,
    train: float = 0.8,
    valid: float = 0.1,
    test: float = 0.0,
    shuffle: bool = True,  # noqa: FBT001, FBT002 - a key of the TOML
    random_state: int | None = None,
) -> dict[str, list[int]]:
    """Positions 0..n_samples-1 of each part; the same on every rank.

    Args:
        n_samples: How many there are to divide; given by the run.
        seed: The run's; given by the run.
        train: Fraction, 0..1, as `valid` and `test`; together at most 1. What they leave is not used.
        valid: See `train`.
        test: See `train`.
        shuffle: Draw at random; else the first train, the next validate, the last test.
        random_state: Seed of the draw; absent = the run's.
    """
    import numpy as np  # noqa: PLC0415 - wanted by runs alone

    fractions = {"train": train, "valid": valid, "test": test}
    if min(fractions.values()) < 0 or sum(fractions.values()) > 1 + 1e-9:
        raise ValueError(f"the fractions are 0 or more and at most 1 together, got {fractions}")
    generator = np.random.default_rng(seed if random_state is None else random_state)
    order = generator.permutation(n_samples) if shuffle else np.arange(n_samples)
    ends = [round(sum([train, valid, test][: number + 1]) * n_samples) for number in range(3)]
    starts = [0, *ends[:-1]]
    return {part: order[start:end].tolist() for part, start, end in zip(fractions, starts, ends, strict=True)}
