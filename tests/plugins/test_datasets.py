"""The bundled digits, and the published ones from their files."""

import gzip
import struct
from collections import Counter

import numpy as np
import pytest

from ddpkit_plugins.datasets.mnist import Mnist


def test_bundled_digits_have_a_test_part_of_their_own():
    digits = Mnist("")

    image, target = digits[0]
    assert len(digits) == 5000
    assert digits.parts == {"test": range(4000, 5000)}
    assert (image.size, image.mode) == ((28, 28), "L")
    assert type(target) is int


def test_max_samples_cuts_the_pool_and_the_test_part_to_their_first():
    whole, cut = Mnist(""), Mnist("", max_samples=20)

    assert len(cut) == 40
    assert cut.parts == {"test": range(20, 40)}
    assert cut.targets[:20] == whole.targets[:20]
    assert cut.targets[20:] == whole.targets[4000:4020]
    assert set(Counter(cut.targets).values()) == {4}


def idx(array):
    """An array in the format of the published files."""
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def test_the_full_set_is_read_from_its_files(tmp_path):
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 6), ("t10k", 4)):
        images = np.arange(n * 784, dtype=np.uint8).reshape(n, 28, 28)
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", images[:, 0, 0])):
            (raw / name).write_bytes(gzip.decompress(idx(array)))

    digits = Mnist(str(tmp_path), source="full")

    assert len(digits) == 10
    assert digits.parts == {"test": range(6, 10)}
    assert np.asarray(digits[1][0])[0, 0] == 784 % 256


@pytest.mark.parametrize(
    ("root_dir", "message"), [("", "needs dataset.root_dir"), ("nowhere", r"config.download = true fetches")]
)
def test_a_full_set_that_is_not_there_is_a_message(root_dir, message):
    with pytest.raises(ValueError, match=message):
        Mnist(root_dir, source="full")
