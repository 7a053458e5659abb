"""Split: which samples are used for training and which for validation."""


def interleaved(n_samples: int, every: int = 5) -> dict[str, list[int]]:
    """Return the positions of the samples in each split.

    The result must be the same on all ranks, so it does not depend on random numbers
    without a fixed seed.

    Args:
        n_samples: Number of samples to divide; passed by the run. Samples of the splits
            that the dataset has itself, such as `test`, are not among them.
        every: Each sample of this number is used for validation.
    """
    if every <= 1:
        raise ValueError(f"every must be at least 2; got {every}")
    valid = range(every - 1, n_samples, every)
    train = [position for position in range(n_samples) if position not in valid]
    return {"train": train, "valid": list(valid)}
