"""One minimal component of every kind."""

import json

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric

from ddpkit import StepOutput


class PlainNet(nn.Sequential):
    def __init__(self, n_pixels: int = 64, n_classes: int = 2):
        super().__init__(nn.Flatten(), nn.Linear(n_pixels, n_classes))


def hinge(margin: float = 1.0):
    return nn.MultiMarginLoss(margin=margin)


class Shift:
    """Adds a number to each image."""

    def __init__(self, by: float = 0.1):
        self.by = by

    def __call__(self, image, target):
        return image + self.by, target


def sharpened(power: float = 2.0):
    return lambda outputs: (outputs * power).softmax(dim=1)


class Wrong(Metric):
    """Fraction of misclassified samples; takes predicted labels."""

    full_state_update = False

    def __init__(self):
        super().__init__()
        self.add_state("wrong", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, labels, targets):
        assert labels.dtype == torch.int64
        self.wrong += (labels != targets).sum()
        self.count += len(targets)

    def compute(self):
        return self.wrong / self.count


class Dots:
    """Bright and dark images."""

    def __init__(self, n: int = 24):
        self.targets = [index % 2 for index in range(n)]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return torch.full((1, 8, 8), float(self.targets[index])) + index / 100, self.targets[index]


def thirds(n_samples: int):
    return {part: list(range(number, n_samples, 3)) for number, part in enumerate(("train", "valid", "test"))}


class ScaledStep:
    """The criteria times a factor."""

    def __init__(self, factor: float = 2.0):
        self.factor = factor

    def __call__(self, context, images, targets):
        outputs = context.model(images)
        return StepOutput([self.factor * term for term in context.criteria(outputs, targets)], outputs)


class Signs(torch.optim.Optimizer):
    """Steps by the sign of the gradient."""

    def __init__(self, params, lr: float = 0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(group["lr"] * parameter.grad.sign())


class Halving(LRScheduler):
    def __init__(self, optimizer, total_steps: int, floor: float = 0.0):
        self.total_steps, self.floor = total_steps, floor
        super().__init__(optimizer)

    def get_lr(self):
        return [max(rate * 0.5**self.last_epoch, self.floor) for rate in self.base_lrs]


class Notes:
    """A logger that writes JSON lines; fails at an epoch if asked to."""

    def __init__(self, folder, config, name: str = "notes.jsonl", fail_at: int = 0):
        self.file, self.task, self.fail_at = folder / name, config["task"], fail_at

    def on_epoch_end(self, row):
        if row["epoch"] == self.fail_at:
            raise RuntimeError("out of ink")
        with self.file.open("a") as file:
            file.write(json.dumps({"task": self.task, "epoch": row["epoch"]}) + "\n")

    def close(self):
        self.file.with_suffix(".closed").touch()


class Lines:
    """A writer of predictions."""

    def __init__(self, folder, classes, end: str = ""):
        self.file, self.classes, self.end = folder / "predictions.txt", classes, end

    def write(self, name, prediction):
        with self.file.open("a") as file:
            file.write(f"{name} {self.classes[prediction.values['label']]}\n")

    def close(self):
        with self.file.open("a") as file:
            file.write(f"{self.end}\n")
