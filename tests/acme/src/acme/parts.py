import math
import os
import time
from pathlib import Path

import torch
from torch import nn
from torchmetrics import Metric


class TinyNet(nn.Sequential):
    """A hidden layer and no BatchNorm: any split of a batch gives the same gradients."""

    def __init__(self, n_pixels: int = 64, hidden: int = 16, n_classes: int = 2, dropout: float = 0.0):
        super().__init__(nn.Flatten(), nn.Linear(n_pixels, hidden), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, n_classes))


class NormNet(nn.Sequential):
    def __init__(self, n_pixels: int = 64, n_classes: int = 2):
        super().__init__(nn.Flatten(), nn.Linear(n_pixels, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, n_classes))


class ConvNet(nn.Sequential):
    """A convolution with BatchNorm; even one sample gives several values per channel."""

    def __init__(self, n_classes: int = 2):
        conv = nn.Conv2d(1, 4, 3, bias=False)  # its gradient would be only rounding, which AdamW turns into steps
        super().__init__(conv, nn.BatchNorm2d(4), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, n_classes))


class Forgetful(TinyNet):
    """Has a layer that it never calls, or only for some images."""

    def __init__(self, n_pixels: int = 64, *, remembers: bool = False):
        super().__init__(n_pixels)
        self.spare = nn.Linear(2, 2)
        self.remembers = remembers

    def forward(self, images):
        is_wanted = self.remembers and images[0].flatten()[::2].sum() > images[0].flatten()[1::2].sum()
        for name, layer in self.named_children():
            images = images if name == "spare" and not is_wanted else layer(images)
        return images


class LazyNet(nn.Sequential):
    def __init__(self, n_classes: int = 2):
        super().__init__(nn.Flatten(), nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(n_classes))


class Sovereign(TinyNet):
    """Computes its own losses: that of `fragile`, and a second one; if `lopsided`, that is not a mean over samples."""

    def __init__(self, n_pixels: int = 64, *, lopsided: bool = False):
        super().__init__(n_pixels)
        self.lopsided = lopsided

    def forward(self, images, targets=None):
        outputs = super().forward(images)
        if not self.training:
            return outputs
        return {"classes": fragile(outputs, targets), "decay": (outputs**2).sum() if self.lopsided else (outputs**2).mean()}


class Mute(TinyNet):
    """Takes targets but returns no losses."""

    def forward(self, images, _targets):
        return super().forward(images)


def tiny_detector(n_classes: int = 3, width: int = 8, *, norm: bool = False):
    """Torchvision's RetinaNet, whose losses are means over images, on two convolutions."""
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    norms = [nn.BatchNorm2d(width)] if norm else []
    backbone = nn.Sequential(nn.Conv2d(3, width, 4, 4), *norms, nn.Tanh(), nn.Conv2d(width, width, 2, 2), nn.Tanh())
    backbone.out_channels = width
    anchors = AnchorGenerator(sizes=((8, 12, 16),), aspect_ratios=((1.0,),))
    return RetinaNet(backbone, n_classes + 1, min_size=32, max_size=32, anchor_generator=anchors, score_thresh=0.0)


class PixelNet(nn.Sequential):
    """Two convolutions without BatchNorm: logits per pixel."""

    def __init__(self, n_classes: int = 3):
        super().__init__(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, n_classes, 1))


class Willful(TinyNet):
    """Draws its initial weights from its own unseeded generator."""

    def __init__(self, n_pixels: int = 64):
        super().__init__(n_pixels)
        nn.init.normal_(self[1].weight, generator=torch.Generator().manual_seed(time.time_ns() % 2**40))


class Chatty(TinyNet):
    """Exchanges a number with the other ranks in each forward."""

    def forward(self, images):
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(torch.ones(1))
        return super().forward(images)


class Asking(TinyNet):
    """Has no default number of outputs."""

    def __init__(self, n_classes: int, n_pixels: int = 64):
        super().__init__(n_pixels, n_classes=n_classes)


class Named(TinyNet):
    """Calls its number of outputs `width`, which the run knows only if the component says so."""

    def __init__(self, width: int = 5, n_pixels: int = 64):
        super().__init__(n_pixels, n_classes=width)


class Tired(TinyNet):
    """Scales its outputs by a count of its calls that is in no state_dict."""

    def __init__(self, n_pixels: int = 64):
        super().__init__(n_pixels)
        self.calls = 0

    def forward(self, images):
        self.calls += self.training
        return super().forward(images) / self.calls**0.5 if self.training else super().forward(images)


class Moody(nn.Module):
    """Cross-entropy that grows with each training call; the count is in no state_dict."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, outputs, targets):
        self.calls += outputs.requires_grad
        return nn.functional.cross_entropy(outputs, targets) * (1 + self.calls)


class Troubled(TinyNet):
    """Raises, or sleeps, in the training forward number `at` of rank 1; writes the time to the file `note`."""

    def __init__(self, note: str, n_pixels: int = 64, at: int = 3, how: str = "raise"):
        super().__init__(n_pixels)
        self.note, self.at, self.how, self.calls = note, at, how, 0

    def forward(self, images):
        self.calls += self.training
        if self.training and self.calls == self.at and os.environ.get("RANK", "1") == "1":
            Path(self.note).write_text(str(time.time()))
            if self.how == "raise":
                raise RuntimeError("the troubled model had enough")
            time.sleep(60)
        return super().forward(images)


def fragile(outputs, targets):
    """Cross-entropy that is infinite where rank 1 has a single sample."""
    loss = nn.functional.cross_entropy(outputs, targets)
    alone = len(targets) == 1 and torch.distributed.is_initialized() and torch.distributed.get_rank() == 1
    return loss * math.inf if alone else loss


def lopsided():
    """Cross-entropy divided by a sum over the batch, which is not a mean over samples."""
    return lambda outputs, targets: nn.functional.cross_entropy(outputs, targets) / (1 + targets.sum())


def deaf():
    """A loss that is detached from the model."""
    return lambda outputs, targets: nn.functional.cross_entropy(outputs.detach(), targets)


def first_pixel():
    """Cross-entropy of the first pixel's logits."""
    return lambda outputs, targets: nn.functional.cross_entropy(outputs[:, :, 0, 0], targets)


def fragile_criterion():
    return fragile


class Counts(Metric):
    full_state_update = False

    def __init__(self, n_classes: int):
        super().__init__()
        self.add_state("counts", torch.zeros(n_classes), dist_reduce_fx="sum")

    def update(self, _, targets):
        self.counts += torch.bincount(targets, minlength=len(self.counts))

    def compute(self):
        return self.counts


class Confidence(Metric):
    full_state_update = False

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions, targets):
        self.total += predictions.max(dim=1).values.double().sum()
        self.count += len(targets)

    def compute(self):
        return self.total / self.count


class Restless:
    """Blobs with noise from its own generator, which is not seeded per sample."""

    def __init__(self, n: int = 40):
        self.blobs, self.generator = Blobs(n), torch.Generator().manual_seed(1)
        self.targets = self.blobs.targets

    def __len__(self):
        return len(self.blobs)

    def __getitem__(self, index):
        image, target = self.blobs[index]
        return image + torch.rand(1, 8, 8, generator=self.generator), target


class Loose:
    """Targets that are mappings, and no `collate`."""

    def __init__(self, n: int = 20):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return torch.rand(3, 8, 8), {"labels": torch.ones(index, dtype=torch.long)}


class Masks:
    """Images [1, 5, 5] with masks of the classes 0 to 2, by brightness.

    In the masks of the samples in `ignored`, each pixel is 255, and in every third mask a row of pixels.
    """

    def __init__(self, n: int = 40, *, ignored: tuple[int, ...] | None = None):
        self.images = torch.rand(n, 1, 5, 5, generator=torch.Generator().manual_seed(11))
        self.masks = (self.images[:, 0] * 2.2).long()
        if ignored is not None:
            self.masks[::3, 0] = 255
            self.masks[list(ignored)] = 255

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.masks[index]


class Blobs:
    """Images [1, 8, 8] of two classes, deterministic for an index; `noise` is drawn at each access.

    `ragged`: images lack up to four rows. `unreadable`: indices whose reading raises an error.
    """

    def __init__(
        self,
        n: int = 40,
        n_test: int = 0,
        noise: float = 0.0,
        *,
        ragged: bool = False,
        labelled: bool = True,
        unreadable: tuple[int, ...] = (),
    ):
        generator = torch.Generator().manual_seed(7)
        self.n = n + n_test
        if labelled:
            self.targets = [index % 2 for index in range(n + n_test)]
        self.images = torch.rand(n + n_test, 1, 8, 8, generator=generator)
        self.images[1::2, :, :4] += 0.3
        self.noise = noise
        self.ragged = ragged
        self.unreadable = unreadable
        self.splits = {"test": range(n, n + n_test)} if n_test else {}

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index in self.unreadable:
            raise OSError("truncated")
        image = self.images[index] + self.noise * torch.randn(1, 8, 8)
        return image[:, index % 5 * self.ragged :], index % 2
