"""Parts of the measured runs, as a plugin of one file: two nets that cost little, so that the loop around them shows."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ddpkit import Component, hookimpl

N_CLASSES = 10


@hookimpl
def ddpkit_models() -> Iterator[Component]:
    """The nets."""
    yield Component("bench_mlp", "parts:Mlp")
    yield Component("bench_cnn", "parts:Cnn")


@hookimpl
def ddpkit_datasets() -> Iterator[Component]:
    """The data."""
    yield Component("bench_noise", "parts:Noise")


class Mlp(nn.Sequential):
    """32-64-10."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, N_CLASSES))


class Cnn(nn.Sequential):
    """Two convolutions and a linear layer, for images of 3 x 16 x 16."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            nn.Linear(32, N_CLASSES),
        )


class Noise:
    """Normal noise in memory, with a class for each sample."""

    def __init__(self, n: int, shape: list[int]) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(n, *shape, generator=generator)
        self.targets = torch.randint(N_CLASSES, (n,), generator=generator).tolist()

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]

    def __len__(self) -> int:
        return len(self.images)
