"""Published datasets, read from small files in their own formats, or missing."""

import pickle
import re
import struct
import threading
import time

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image
from torchvision.tv_tensors import Mask

from ddpkit.plugins import manager
from ddpkit.plugins.signatures import import_target
from ddpkit_plugins.datasets.published import Published, cifar10, fashion_mnist, lock_download
from ddpkit_plugins.torchvision import SETS


def write_idx(file, array):
    """An array in the format of MNIST's files."""
    file.write_bytes(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


@pytest.fixture
def fashion(tmp_path):
    """Twelve and six images of FashionMNIST."""
    raw = tmp_path / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 12), ("t10k", 6)):
        write_idx(raw / f"{part}-images-idx3-ubyte", np.arange(n * 784, dtype=np.uint8).reshape(n, 28, 28))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(n, dtype=np.uint8) % 3)
    return str(tmp_path)


def test_the_published_test_split_is_kept(fashion):
    clothes = fashion_mnist(fashion, 0)

    assert (len(clothes), clothes.splits) == (18, {"test": range(12, 18)})
    assert clothes.targets == [*range(3)] * 6
    assert (clothes[1][0].mode, clothes[1][0].getpixel((0, 0)), clothes[1][1]) == ("L", 784 % 256, 1)
    assert clothes.classes[0] == "T-shirt/top"


def test_max_samples_applies_per_split_and_keeps_each_class(fashion):
    cut = fashion_mnist(fashion, 5, max_samples=3)

    assert cut.splits == {"test": range(3, 6)}
    assert [sorted(cut.targets[:3]), sorted(cut.targets[3:])] == [[0, 1, 2], [0, 1, 2]]
    assert [cut[index][1] for index in range(6)] == cut.targets


def test_cifar10_is_read_from_its_batches(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, n in (("data_batch_1", 4), ("test_batch", 2)):
        batch = {"data": np.arange(n * 3072, dtype=np.uint64).astype(np.uint8).reshape(n, 3072), "labels": [*range(n)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["plane", "car", "bird", "cat"]}))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "train_list", [["data_batch_1", None]])  # without the real files' sums
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", [["test_batch", None]])
    monkeypatch.setitem(torchvision.datasets.CIFAR10.meta, "md5", None)

    made = cifar10(str(tmp_path), 0)

    assert (len(made), made.splits, made.targets) == (6, {"test": range(4, 6)}, [0, 1, 2, 3, 0, 1])
    assert made[0][0].size == (32, 32)


@pytest.mark.parametrize("name", SETS)
def test_a_missing_dataset_gives_instructions(name, tmp_path):
    component = manager.load().registry.get("dataset", f"torchvision/{name}").component

    with pytest.raises(ValueError, match=rf"{name} was not found in {tmp_path} \(|{name} requires a library") as caught:
        import_target(component.target)(root_dir=str(tmp_path), seed=0, **component.bound)
    assert re.search(r"set 'dataset.config.download = true'|see the documentation|pip install", str(caught.value))


def test_missing_dataset_files_are_named_with_their_folder(tmp_path):
    with pytest.raises(
        ValueError, match=rf"download train-images-idx3-ubyte.gz, .* and unpack them into {tmp_path}/FashionMNIST/raw"
    ):
        fashion_mnist(str(tmp_path), 0)
    with pytest.raises(
        ValueError,
        match=rf"download https://.*cifar-10-python.tar.gz and unpack it into {tmp_path}, or set 'dataset.config.download",
    ):
        cifar10(str(tmp_path), 0)
    with pytest.raises(ValueError, match=r"dataset.root_dir is missing; set it to the folder for the files of CIFAR10"):
        cifar10("", 0)


def test_torchvision_datasets_have_their_own_namespace():
    registry = manager.load().registry

    assert "torchvision/SVHN" in registry.matching("dataset", "torchvision/S*")
    assert registry.get("dataset", "FashionMNIST").qualified_name == "builtin/FashionMNIST"


def test_boxes_and_masks_are_tv_tensors(tmp_path):
    folder = tmp_path / "VOCdevkit/VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for name in ("train", "val"):
        for kind in ("Segmentation", "Main"):
            (folder / f"ImageSets/{kind}/{name}.txt").write_text(f"{name}\n")
        Image.new("RGB", (6, 4)).save(folder / f"JPEGImages/{name}.jpg")
        mask = Image.new("P", (6, 4), 3)
        mask.putpalette([9] * 768)
        mask.save(folder / f"SegmentationClass/{name}.png")
        (folder / f"Annotations/{name}.xml").write_text(VOC)

    masks, boxes = Published("VOCSegmentation", str(tmp_path), 0), Published("VOCDetection", str(tmp_path), 0)

    assert masks.splits == boxes.splits == {"train": range(1), "valid": range(1, 2)}
    assert (type(masks[1][1]), masks[1][1].unique().tolist(), hasattr(masks, "targets")) == (Mask, [3], False)
    assert boxes[0][1]["boxes"].tolist() == [[1, 1, 3, 4]]
    assert (boxes[0][1]["labels"].tolist(), sorted(boxes[0][1])) == ([12], ["boxes", "labels"])


VOC = """<annotation><size><width>6</width><height>4</height><depth>3</depth></size><object><name>dog</name>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>"""


def test_only_one_rank_downloads_at_a_time(tmp_path):
    inside, most = [], []

    def download():
        with lock_download(tmp_path / "new"):
            inside.append(1)
            time.sleep(0.02)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=download) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

    assert most == [1, 1, 1, 1]
