"""Optional attributes of a dataset, read in one place. A dataset needs none of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from torch import Tensor


@attrs.frozen
class DatasetInfo:
    """Optional information that a dataset provides in addition to its samples."""

    dataset: Any

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def splits(self) -> dict[str, list[int]]:
        """The dataset's own splits: `train`, `valid`, `test` -> indices. Raises ValueError if it uses the old name."""
        if not hasattr(self.dataset, "splits") and isinstance(getattr(self.dataset, "parts", None), Mapping):
            raise ValueError("the dataset's attribute 'parts' is now called 'splits'; rename it in the dataset")
        return {split: list(indices) for split, indices in getattr(self.dataset, "splits", {}).items()}

    @property
    def targets(self) -> Any:
        """One target per sample, as in torchvision's datasets; None: unknown."""
        return getattr(self.dataset, "targets", None)

    @property
    def classes(self) -> list[str]:
        """Names of the classes; [] without names."""
        names = getattr(self.dataset, "classes", None)
        return [] if names is None else [str(name) for name in names]

    @property
    def distinct_labels(self) -> list[int] | None:
        """The labels that occur in a dataset without `targets`, such as masks; None: unknown. It may read all of its files."""
        return getattr(self.dataset, "distinct_labels", None)

    @property
    def groups(self) -> Mapping[str, Sequence[str]] | None:
        """Name of a grouping (`file`, `patient`, ...) -> one group name per sample; None: no groups."""
        return getattr(self.dataset, "groups", None)

    @property
    def collate(self) -> Callable[[list[Any]], Any] | None:
        """The dataset's own function that collates samples into a micro-batch; None: torch's function is used."""
        return getattr(self.dataset, "collate", None)

    @property
    def samples(self) -> list[Any] | None:
        """`(file, class)` of each sample, as in torchvision's folder datasets; None: unknown."""
        samples = getattr(self.dataset, "samples", None)
        return samples if isinstance(samples, list) and all(isinstance(each, tuple | list) for each in samples[:1]) else None

    def records(self) -> Iterator[Any]:
        """Yield all data that identifies the samples: targets, samples and files, each with one entry per sample."""
        for name in ("targets", "samples", "files"):
            values = getattr(self.dataset, name, None)
            if isinstance(values, list | tuple | Tensor | np.ndarray):
                yield values

    def identify(self, indices: Sequence[int]) -> list[str] | list[int]:
        """Return identifiers of these samples for a record: the file names in `groups` if they are unique, else indices."""
        names = (self.groups or {}).get("file", [])
        return [names[index] for index in indices] if names and len(set(names)) == len(names) else list(indices)

    def select_groups(self, indices: Sequence[int]) -> dict[str, list[str]] | None:
        """Return the groups of some samples; None for a dataset without groups."""
        groups = self.groups
        return None if groups is None else {name: [texts[index] for index in indices] for name, texts in groups.items()}
