"""Randomness by key: random numbers depend on what they are drawn for, never on what was drawn before.

Therefore the number of workers, the rank that reads a sample and the step of a resume change nothing, and no generator state
has to be saved.
"""

import hashlib
import random

import numpy as np
import torch


def seed_for(*key: int | str) -> int:
    """Return a 64-bit seed for a key such as `("sample", seed, epoch, index)`."""
    # A hash: generators that are seeded with neighbouring numbers may be correlated.
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")


def seed_generators(*key: int | str, device: torch.device | None = None) -> None:
    """Seed the global generators that datasets, transforms and layers use: torch's, numpy's and Python's.

    `device`: a CUDA device, which must be the current one, is seeded too.
    """
    seed = seed_for(*key)
    torch.default_generator.manual_seed(seed)  # `torch.manual_seed` visits every backend: 100 times slower
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party transforms draw from the global generator
    random.seed(seed)
    if device is not None and device.type == "cuda":
        torch.cuda.manual_seed(seed)


def generator_for(*key: int | str) -> torch.Generator:
    """Return a new torch generator on the CPU, seeded for the key."""
    return torch.Generator().manual_seed(seed_for(*key))
