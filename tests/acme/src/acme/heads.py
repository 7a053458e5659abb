"""A model with several heads, and what trains it."""

import torch
from torch import nn
from torchmetrics import Metric

N_POINTS = 3


class Heads(nn.Module):
    """Outputs: logits `side` and `tone` [B, 2], and `points` [B, 3, 2]."""

    def __init__(self, n_classes: int = 2):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh())
        self.side, self.tone, self.points = nn.Linear(8, n_classes), nn.Linear(8, n_classes), nn.Linear(8, 2 * N_POINTS)

    def forward(self, images):
        found = self.body(images)
        return {"side": self.side(found), "tone": self.tone(found), "points": self.points(found).view(-1, N_POINTS, 2)}


class Marks:
    """Targets: two classes, and points [3, 2]."""

    classes = ("no", "yes")

    def __init__(self, n: int = 41):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        drawn = torch.rand(70, generator=torch.Generator().manual_seed(index))
        target = {"side": index % 2, "tone": index // 2 % 2, "points": drawn[64:].view(N_POINTS, 2)}
        return drawn[:64].view(1, 8, 8) + index % 2, target


def distance():
    return lambda points, targets: (points - targets).square().mean()


class Offset(Metric):
    """Mean absolute distance between points; in float64, unlike torchmetrics."""

    higher_is_better = False

    def __init__(self):
        super().__init__()
        self.add_state("sums", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, points, targets):
        assert points.shape[1:] == targets.shape[1:] == (N_POINTS, 2)
        self.sums += torch.stack([(points - targets).abs().sum().double(), torch.tensor(float(points.numel()))])

    def compute(self):
        return self.sums[0] / self.sums[1]
