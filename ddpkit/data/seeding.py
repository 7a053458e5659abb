"""Seeds derived from keys: random numbers depend on their purpose (seed, epoch, sample, ...), never on earlier draws.

Therefore they do not depend on the number of workers, on the rank that reads a sample, or on the step of a resume, and no
generator state has to be saved.
"""

import hashlib
import random
from collections.abc import Collection

import numpy as np
import torch

GENERATORS = frozenset({"torch", "numpy", "python"})
"""Names of the global random generators, as components declare them (`Component.draws`)."""


def seed_for(*key: int | str) -> int:
    """Return a 64-bit seed for a key such as `("sample", seed, epoch, index)`."""
    # A hash, because generators that are seeded with neighbouring numbers may be correlated.
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")


def seed_generators(*key: int | str, device: torch.device | None = None, draws: Collection[str] = GENERATORS) -> None:
    """Seed the global generators that datasets, transforms and layers use: torch's, numpy's and Python's.

    Args:
        key: Purpose of the random numbers, and its numbers, such as `("sample", seed, epoch, index)`.
        device: If it is a CUDA device, which must be the current one, its generator is seeded with torch's.
        draws: Generators to seed, of `GENERATORS`.
    """
    seed = seed_for(*key)
    if "torch" in draws:
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` visits every backend: 100 times slower
        if device is not None and device.type == "cuda":
            torch.cuda.manual_seed(seed)
    if "numpy" in draws:
        np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party transforms draw from the global generator
    if "python" in draws:
        random.seed(seed)


def generator_for(*key: int | str) -> torch.Generator:
    """Return a new torch generator on the CPU, seeded for the key."""
    return torch.Generator().manual_seed(seed_for(*key))
