"""A stream of handwritten digits in tar files, in the layout of WebDataset: `000017.png` and its class `000017.cls`."""

import io
import tarfile
from pathlib import Path

from PIL import Image
from torch import nn

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_datasets():
    yield Component("digit_shards", "plugin:DigitShards", doc="digits in tar files", image_type="pil")


@hookimpl
def ddpkit_models():
    yield Component("digit_net", "plugin:DigitNet", doc="small convolutional network", draws=())


class DigitShards:
    """Stream of digits: the shards are the files `train-*.tar.gz`, `valid-*.tar.gz` and `test-*.tar.gz` of a folder."""

    classes = tuple("0123456789")

    def __init__(self, root_dir: str, samples_per_epoch: int = 480):
        """Find the shards. `samples_per_epoch`: number of training samples in an epoch over all ranks."""
        files = {split: sorted(Path(root_dir).glob(f"{split}-*.tar.gz")) for split in ("train", "valid", "test")}
        self.shards = {split: [str(file) for file in found] for split, found in files.items()}
        self.samples_per_epoch = samples_per_epoch

    def read_shard(self, shard: str):
        """Yield the image and the class of each sample, in the order of the file."""
        for sample in read_tar(shard):
            yield Image.open(io.BytesIO(sample["png"])), int(sample["cls"])


def read_tar(file: str):
    """Yield the samples of a tar file as dicts from suffix to content. The files of a sample have the same stem."""
    sample, last = {}, ""
    with tarfile.open(file, "r|*") as tar:  # reads the file from start to end, without seeking
        for member in tar:
            stem, _, suffix = member.name.partition(".")
            if sample and stem != last:
                yield sample
                sample = {}
            sample[suffix], last = tar.extractfile(member).read(), stem
    if sample:
        yield sample


class DigitNet(nn.Module):
    """Images [B, 1, 28, 28] to logits [B, n_classes]."""

    def __init__(self, n_classes: int, width: int = 16):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2), nn.ReLU(), nn.Conv2d(width, 2 * width, 5, stride=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * width, n_classes),
        )  # fmt: skip

    def forward(self, images):
        return self.layers(images)
