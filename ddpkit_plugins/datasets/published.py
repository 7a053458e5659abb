"""Published data sets, through torchvision: MNIST, CIFAR and others, each with its own parts."""

import contextlib
import fcntl
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddpkit_plugins.datasets.split_indices import consecutive
from ddpkit_plugins.datasets.torchvision_sets import SETS
from ddpkit_plugins.stratify import kept

LABELS = ("targets", "labels", "_labels", "y")
"""Where torchvision's sets keep the class of each sample."""


class Published:
    """The parts of a set one behind the other, as torchvision gives them: `(image, class)`, `(image, mask)` or boxes.

    Args:
        name: In `torchvision.datasets`, one of `SETS`.
        root_dir: Where its files are, or are downloaded to.
        seed: The run's.
        download: Fetch the files if they are missing.
        max_samples: Keep only so many of each part: drawn by the seed, of every class in its share.
    """

    def __init__(self, name: str, root_dir: str, seed: int, *, download: bool = False, max_samples: int | None = None) -> None:
        from torch.utils.data import ConcatDataset, Subset  # noqa: PLC0415 - heavy, and wanted by runs alone

        sets = sets_of(name, root_dir, download=download)
        labels = {part: labels_of(each) for part, each in sets.items()}
        chosen = {part: kept(len(each), max_samples, seed, labels[part]) for part, each in sets.items()}
        self.joined: Any = ConcatDataset([Subset(each, chosen[part]) for part, each in sets.items()])
        self.parts = consecutive({part: len(indices) for part, indices in chosen.items()})
        self.classes = getattr(next(iter(sets.values())), "classes", [])
        if all(each is not None for each in labels.values()):
            self.targets = [(labels[part] or [])[index] for part, indices in chosen.items() for index in indices]

    def __len__(self) -> int:
        return len(self.joined)

    def __getitem__(self, index: int) -> Any:
        return self.joined[index]


def cifar10(root_dir: str, seed: int, *, download: bool = False, max_samples: int | None = None) -> Published:
    """60,000 colour images of 32x32 in ten classes (Krizhevsky 2009); 10,000 are the test part. Parameters as of `Published`."""
    return Published("CIFAR10", root_dir, seed, download=download, max_samples=max_samples)


def cifar100(root_dir: str, seed: int, *, download: bool = False, max_samples: int | None = None) -> Published:
    """As CIFAR10, in a hundred classes."""
    return Published("CIFAR100", root_dir, seed, download=download, max_samples=max_samples)


def fashion_mnist(root_dir: str, seed: int, *, download: bool = False, max_samples: int | None = None) -> Published:
    """70,000 grey images of clothes, 28x28, in ten classes (Xiao et al. 2017); 10,000 are the test part; as of `Published`."""
    return Published("FashionMNIST", root_dir, seed, download=download, max_samples=max_samples)


def sets_of(name: str, root_dir: str, *, download: bool) -> dict[str, Any]:
    """Part -> torchvision's set. Raises ValueError that says where to put which files, where they are not to be had."""
    from torchvision import datasets  # noqa: PLC0415 - heavy, and wanted by runs alone

    if not root_dir:
        raise ValueError(f"{name} needs dataset.root_dir, the folder for its files")
    kind, root = getattr(datasets, name), Path(root_dir)
    options = {"download": download} if "download" in inspect.signature(kind).parameters else {}
    try:
        with one_at_a_time(root) if download else contextlib.nullcontext():
            return {part: for_transforms(kind(root, **asked, **options)) for part, asked in SETS[name].items()}
    except ImportError as error:
        raise ValueError(f"{name} is read with a library that is not installed: pip install {error.name}") from error
    except (OSError, RuntimeError) as error:  # no file, no network, a file that is damaged
        fetch = "" if download or not options else ", or set config.download = true"
        raise ValueError(f"no {name} in {root_dir} ({error}); {where(kind, root)}{fetch}") from error


def for_transforms(made: Any) -> Any:
    """Boxes and masks as tensors that transforms know; classes as they are."""
    from torchvision.datasets import VOCDetection, VOCSegmentation, wrap_dataset_for_transforms_v2  # noqa: PLC0415

    if isinstance(made, VOCDetection):
        return wrap_dataset_for_transforms_v2(made, target_keys={"boxes", "labels"})
    return wrap_dataset_for_transforms_v2(made) if isinstance(made, VOCSegmentation) else made


def where(kind: Any, root: Path) -> str:
    """Which files belong where, as far as torchvision's class tells."""
    resources = getattr(kind, "resources", None)
    if isinstance(resources, list):
        names = ", ".join(Path(name).name for name, _ in resources)
        return f"put {names} from {kind.mirrors[0]} into {root / kind.__name__ / 'raw'}, unpacked"
    url = next((getattr(kind, name) for name in ("url", "_URL", "_url") if isinstance(getattr(kind, name, None), str)), None)
    return f"unpack {url} into {root}" if url else f"the documentation of torchvision.datasets.{kind.__name__} names the files"


@contextlib.contextmanager
def one_at_a_time(root: Path) -> Iterator[None]:
    """Ranks of one machine that want to download: the first does, the others find what it left."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".download.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def labels_of(made: Any) -> list[int] | None:
    """The class of each sample; None where the set does not hold them, or has none."""
    found = next((getattr(made, name) for name in LABELS if hasattr(made, name)), None)
    try:
        return None if found is None else [int(label) for label in found]
    except (TypeError, ValueError):  # masks or files with boxes
        return None
