"""Published datasets through torchvision: MNIST, CIFAR and others, each with its own splits."""

import contextlib
import fcntl
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddpkit_plugins.datasets.split_indices import consecutive_ranges
from ddpkit_plugins.datasets.torchvision_sets import SETS
from ddpkit_plugins.stratify import select_stratified

VOC = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse"),
    *("motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Classes of Pascal VOC, in the order of their labels from 1 (Everingham et al. 2010, "The Pascal visual object classes")."""
VOC_BACKGROUND = {"VOCDetection": list[str](), "VOCSegmentation": ["background"]}
LABELS = ("targets", "labels", "_labels", "y")
"""Attributes in which torchvision's datasets store the class of each sample."""


class Published:
    """Dataset of torchvision with all its splits, one after the other: `(image, class)`, `(image, mask)` or boxes.

    Args:
        name: Name in `torchvision.datasets`, one of `SETS`.
        root_dir: Folder of the files, or of their download.
        seed: Seed of the run.
        download: Download missing files.
        max_samples: Maximum number of samples of each split, selected by the seed, with every class in its share.

    Raises:
        ValueError: The files cannot be read or downloaded, or a library is missing; the message says which.
    """

    def __init__(self, name: str, root_dir: str, seed: int, *, download: bool = False, max_samples: int | None = None) -> None:
        from torch.utils.data import ConcatDataset, Subset  # noqa: PLC0415 - slow import that only runs need

        sets = open_sets(name, root_dir, download=download)
        labels = {split: read_labels(each) for split, each in sets.items()}
        chosen = {split: select_stratified(len(each), max_samples, seed, labels[split]) for split, each in sets.items()}
        self.joined: Any = ConcatDataset([Subset(each, chosen[split]) for split, each in sets.items()])
        self.splits = consecutive_ranges({split: len(indices) for split, indices in chosen.items()})
        self.classes = list_classes(name, next(iter(sets.values())))
        if all(each is not None for each in labels.values()):
            self.targets = [(labels[split] or [])[index] for split, indices in chosen.items() for index in indices]

    def __len__(self) -> int:
        return len(self.joined)

    def __getitem__(self, index: int) -> Any:
        return self.joined[index]


def cifar10(root_dir: str, seed: int, *, download: bool = False, max_samples: int | None = None) -> Published:
    """Return CIFAR-10: 60,000 colour images of 32 x 32 pixels in ten classes (Krizhevsky 2009); 10,000 are the test split.

    Args:
        root_dir: Folder of the files, or of their download; set by `[dataset]`.
        seed: Seed of the run; passed by the run.
        download: Download missing files.
        max_samples: Maximum number of samples of each split, selected by the seed, with every class in its share.

    Raises:
        ValueError: The files cannot be read or downloaded.
    """
    return Published("CIFAR10", root_dir, seed, download=download, max_samples=max_samples)


def cifar100(root_dir: str, seed: int, *, download: bool = False, max_samples: int | None = None) -> Published:
    """Return CIFAR-100: 60,000 colour images of 32 x 32 pixels in a hundred classes (Krizhevsky 2009); 10,000 are the test split.

    Args:
        root_dir: Folder of the files, or of their download; set by `[dataset]`.
        seed: Seed of the run; passed by the run.
        download: Download missing files.
        max_samples: Maximum number of samples of each split, selected by the seed, with every class in its share.

    Raises:
        ValueError: The files cannot be read or downloaded.
    """
    return Published("CIFAR100", root_dir, seed, download=download, max_samples=max_samples)


def fashion_mnist(root_dir: str, seed: int, *, download: bool = False, max_samples: int | None = None) -> Published:
    """Return Fashion-MNIST: 70,000 grayscale images of clothes, 28 x 28 pixels, in ten classes (Xiao et al. 2017).

    10,000 of them are the test split.

    Args:
        root_dir: Folder of the files, or of their download; set by `[dataset]`.
        seed: Seed of the run; passed by the run.
        download: Download missing files.
        max_samples: Maximum number of samples of each split, selected by the seed, with every class in its share.

    Raises:
        ValueError: The files cannot be read or downloaded.
    """
    return Published("FashionMNIST", root_dir, seed, download=download, max_samples=max_samples)


def open_sets(name: str, root_dir: str, *, download: bool) -> dict[str, Any]:
    """Return split -> torchvision's dataset.

    Raises ValueError if the files cannot be read or downloaded; the message contains instructions for the files.
    """
    from torchvision import datasets  # noqa: PLC0415 - slow import that only runs need

    if not root_dir:
        raise ValueError(f"dataset.root_dir is missing; set it to the folder for the files of {name}")
    kind, root = getattr(datasets, name), Path(root_dir)
    options = {"download": download} if "download" in inspect.signature(kind).parameters else {}
    try:
        with lock_download(root) if download else contextlib.nullcontext():
            return {split: wrap_for_transforms(kind(root, **arguments, **options)) for split, arguments in SETS[name].items()}
    except ImportError as error:
        message = f"{name} requires a library that is not installed; install it with: pip install {error.name}"
        raise ValueError(message) from error
    except (OSError, RuntimeError) as error:  # no file, no network, a corrupt file
        fetch = "" if download or not options else ", or set 'dataset.config.download = true'"
        raise ValueError(f"{name} was not found in {root_dir} ({error}); {download_hint(kind, root)}{fetch}") from error


def wrap_for_transforms(made: Any) -> Any:
    """Return a dataset whose boxes and masks are `tv_tensors`, which transforms recognise; classes stay unchanged."""
    from torchvision.datasets import VOCDetection, VOCSegmentation, wrap_dataset_for_transforms_v2  # noqa: PLC0415

    if isinstance(made, VOCDetection):
        return wrap_dataset_for_transforms_v2(made, target_keys={"boxes", "labels"})
    return wrap_dataset_for_transforms_v2(made) if isinstance(made, VOCSegmentation) else made


def download_hint(kind: Any, root: Path) -> str:
    """Return instructions to download the files by hand; without a known address, a reference to torchvision's documentation."""
    resources = getattr(kind, "resources", None)
    if isinstance(resources, list):
        names = ", ".join(Path(name).name for name, _ in resources)
        return f"download {names} from {kind.mirrors[0]} and unpack them into {root / kind.__name__ / 'raw'}"
    url = next((getattr(kind, name) for name in ("url", "_URL", "_url") if isinstance(getattr(kind, name, None), str)), None)
    return (
        f"download {url} and unpack it into {root}" if url else f"see the documentation of torchvision.datasets.{kind.__name__}"
    )


@contextlib.contextmanager
def lock_download(root: Path) -> Iterator[None]:
    """Let only one rank of a machine download at a time; the other ranks then find the files."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".download.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def list_classes(name: str, made: Any) -> list[str]:
    """Return the names of the classes; [] if torchvision does not know them."""
    if name in VOC_BACKGROUND:
        return [*VOC_BACKGROUND[name], *VOC]
    names = getattr(made, "classes", None) or getattr(made, "categories", None) or []
    return [str(each) for each in names]


def read_labels(made: Any) -> list[int] | None:
    """Return the class of each sample; None if the dataset has no classes."""
    found = next((getattr(made, name) for name in LABELS if hasattr(made, name)), None)
    try:
        return None if found is None else [int(label) for label in found]
    except (TypeError, ValueError):  # masks or files with boxes
        return None
