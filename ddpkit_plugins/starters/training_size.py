"""Training settings that depend on the number of samples."""

from collections.abc import Mapping, Sized
from typing import Any

import attrs

STEPS = 8
"""Number of optimizer steps in an epoch of small data, so that the weights change often."""
MANY = 500
"""Number of samples from which loader processes are worth their start."""
MANY_IMAGES = 5000
"""Number of samples from which larger images are worth the time."""
FEW = 10
"""Number of samples from which the default fractions leave samples for each split."""
FRACTIONS = {"train": 0.6, "valid": 0.2, "test": 0.2}
"""Fractions of fewer samples."""

FOUND_SPLITS = """\
  splits       $own | 划分         $own
"""


@attrs.frozen
class TrainingSize:
    """Number of samples, and the dataset's own splits."""

    n_samples: int
    own: Mapping[str, Sized]

    @property
    def n_train(self) -> int:
        """Number of training samples, except for rounding."""
        if "train" in self.own:
            return len(self.own["train"])
        rest = self.n_samples - sum(map(len, self.own.values()))
        return int(rest * (FRACTIONS["train"] if self.n_samples < FEW else 0.8))

    @property
    def has_valid(self) -> bool:
        """Whether there is a validation split, which computes metrics during training."""
        return "valid" in self.own or sum(map(len, self.own.values())) < self.n_samples

    def longest_side(self, few: int, many: int) -> int:
        """Return the maximum side of the images in pixels: `few` for small data, `many` for MANY_IMAGES or more."""
        return many if self.n_samples >= MANY_IMAGES else few

    def batch_size(self, largest: int) -> int:
        """Return a power of 2 from 4 to `largest` that gives about STEPS steps in an epoch."""
        return min(largest, max(4, 1 << (self.n_train // STEPS | 1).bit_length() - 1))

    def epochs(self, n_images: int, least: int, most: int) -> int:
        """Return the number of epochs that train with about `n_images` images, from `least` to `most`."""
        return max(least, min(most, round(n_images / max(self.n_train, 1))))

    @property
    def values(self) -> dict[str, Any]:
        """Values of the templates."""
        is_divided = not self.own
        fractions = FRACTIONS if is_divided and self.n_samples < FEW else {}
        return {
            "n_samples": self.n_samples,
            "own": list(self.own) or None,
            "fractions": [0.8, 0.1, 0.1] if is_divided and not fractions else None,
            **{split: fractions.get(split) for split in FRACTIONS},
            "num_workers": 2 if self.n_samples >= MANY else 0,
        }
