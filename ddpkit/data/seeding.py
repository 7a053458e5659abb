"""Randomness by key: what is drawn depends on what it is drawn for, never on what was drawn before.

So the number of workers, the rank that reads a sample and the point of a resume change nothing, and no state is stored.
"""

import hashlib
import random

import numpy as np
import torch


def seed_for(*key: int | str) -> int:
    """A 64-bit seed for a key, as in `("sample", seed, epoch, index)`.

    A hash, since generators that are seeded with neighbouring numbers may be correlated.
    """
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")


def seed_generators(*key: int | str, device: torch.device | None = None) -> None:
    """Seed the generators that datasets, transforms and layers draw from: torch's, numpy's and Python's.

    `device`: a CUDA device, which must be the current one, is seeded too. (`torch.manual_seed` would visit every backend:
    100 times slower.)
    """
    seed = seed_for(*key)
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global generator is what other people's transforms draw from
    random.seed(seed)
    if device is not None and device.type == "cuda":
        torch.cuda.manual_seed(seed)


def generator_for(*key: int | str) -> torch.Generator:
    """A torch generator of one's own, on the CPU."""
    return torch.Generator().manual_seed(seed_for(*key))
