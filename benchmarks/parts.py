"""Plugin file with two small models and a dataset, whose cost is low enough that the cost of the training loop is visible."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ddpkit import Component, hookimpl

N_CLASSES = 10


@hookimpl
def ddpkit_models() -> Iterator[Component]:
    """Yield the models."""
    yield Component("bench_mlp", "parts:Mlp", draws=())
    yield Component("bench_cnn", "parts:Cnn", draws=())


@hookimpl
def ddpkit_datasets() -> Iterator[Component]:
    """Yield the dataset."""
    yield Component("bench_noise", "parts:Noise")


class Mlp(nn.Sequential):
    """MLP with 32 inputs, 64 hidden units and 10 outputs."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, N_CLASSES))


class Cnn(nn.Sequential):
    """CNN with two convolutions and a linear layer, for images [3, 16, 16]."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            nn.Linear(32, N_CLASSES),
        )


class Noise:
    """Dataset of normal noise in memory, with a random class for each sample."""

    def __init__(self, n: int, shape: list[int]) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(n, *shape, generator=generator)
        self.targets = torch.randint(N_CLASSES, (n,), generator=generator).tolist()

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]

    def __len__(self) -> int:
        return len(self.images)
