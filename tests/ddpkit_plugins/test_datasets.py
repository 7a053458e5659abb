"""MNIST (bundled and full), images in class folders, images with masks, and the bundled nuclei."""

import gzip
import pickle
import re
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.tv_tensors import Mask

from ddpkit_plugins import datasets
from ddpkit_plugins.datasets.image_folder import CustomDataset
from ddpkit_plugins.datasets.mask_folder import MedicalDataset
from ddpkit_plugins.datasets.mnist import Mnist
from ddpkit_plugins.datasets.nuclei import Nuclei
from ddpkit_plugins.datasets.shapes import OneShape, Shapes
from ddpkit_plugins.transforms import hflip, to_tensor


def test_each_dataset_declares_pil_images():
    assert {component.image_type for component in datasets.ddpkit_datasets()} == {"pil"}
    for dataset in (Mnist("", 0), Nuclei(), OneShape(0), Shapes(0)):
        assert isinstance(dataset[0][0], Image.Image)


def test_bundled_mnist_has_its_own_test_split():
    digits = Mnist("", 0)

    image, target = digits[0]
    assert len(digits) == 5000
    assert digits.splits == {"test": range(4000, 5000)}
    assert (image.size, image.mode) == ((28, 28), "L")
    assert type(target) is int


def test_max_samples_is_balanced_and_seeded():
    cut, again, other = (Mnist("", seed, max_samples=20) for seed in (1, 1, 2))

    assert cut.splits == {"test": range(20, 40)}
    assert set(Counter(cut.targets[:20]).values()) == set(Counter(cut.targets[20:]).values()) == {2}
    assert np.array_equal(cut.images, again.images)
    assert not np.array_equal(cut.images, other.images)


def idx(array):
    """An array in the format of the published files."""
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def test_the_full_mnist_is_read_from_its_files(tmp_path):
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 6), ("t10k", 4)):
        images = np.arange(n * 784, dtype=np.uint8).reshape(n, 28, 28)
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", images[:, 0, 0])):
            (raw / name).write_bytes(gzip.decompress(idx(array)))

    digits = Mnist(str(tmp_path), 0, source="full")

    assert len(digits) == 10
    assert digits.splits == {"test": range(6, 10)}
    assert np.asarray(digits[1][0])[0, 0] == 784 % 256


@pytest.mark.parametrize(
    ("root_dir", "message"),
    [
        ("", "dataset.root_dir is missing; set it to the folder for the files of MNIST"),
        (
            "nowhere",
            r"MNIST was not found in nowhere .*download train-images-idx3-ubyte.gz, .* from https://.* and unpack them into nowhere/MNIST/raw, or set 'dataset.config.download = true'",
        ),
    ],
)
def test_a_missing_full_mnist_is_rejected(root_dir, message):
    with pytest.raises(ValueError, match=message):
        Mnist(root_dir, 0, source="full")


def draw(file, value=0, mode="RGB", size=(3, 2)):
    """An image file of one colour."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode != "RGB" else (value, value, value)).save(file)


def save(file, values, dtype=np.uint8):
    """A grey image file with these values."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype=dtype)).save(file)


def make_class_folders(root, **counts):
    """A folder for each class, with so many images each."""
    for name, count in counts.items():
        for number in range(count):
            draw(root / name / f"{number}.png")


def names(dataset, root):
    """The files of a dataset, seen from its root."""
    return [file.relative_to(root).as_posix() for file, _ in dataset.samples]


def test_class_folders_are_numbered_by_name_or_by_classes(tmp_path):
    draw(tmp_path / "dog/a.png", 10)
    draw(tmp_path / "cat/a.png", 20)

    by_name, by_run = CustomDataset(str(tmp_path), [], 0), CustomDataset(str(tmp_path), ["dog", "cat"], 0)

    assert (by_name.classes, by_name.targets) == (["cat", "dog"], [0, 1])
    assert (by_run.classes, by_run.targets) == (["dog", "cat"], [0, 1])
    assert [by_name[0][0].getpixel((0, 0)), by_run[0][0].getpixel((0, 0))] == [(20, 20, 20), (10, 10, 10)]
    assert by_name.splits == {}
    assert type(by_name[1][1]) is int


def test_image_files_are_sorted_and_filtered_by_suffix(tmp_path):
    for name in ["b.png", "a.JPG", "c.jpeg", "d.bmp", "e.tif", "f.tiff", "g.webp", "h.gif", ".hidden.png", "._a.jpg"]:
        draw(tmp_path / "cat" / name)
    draw(tmp_path / "cat/deeper/x.png")
    draw(tmp_path / ".checkpoints/x.png")
    (tmp_path / "cat/notes.txt").write_text("no image")
    (tmp_path / "readme.txt").write_text("no folder")

    images = CustomDataset(str(tmp_path), [], 0)

    assert images.classes == ["cat"]
    assert [file.name for file, _ in images.samples] == [
        "a.JPG",
        "b.png",
        "c.jpeg",
        "d.bmp",
        "e.tif",
        "f.tiff",
        "g.webp",
        "h.gif",
    ]
    assert {images[index][0].size for index in range(8)} == {(3, 2)}


def test_every_prefix_of_samples_is_balanced(tmp_path):
    make_class_folders(tmp_path, cat=3, dog=1, eel=2)

    order = ["cat/0.png", "dog/0.png", "eel/0.png", "cat/1.png", "eel/1.png", "cat/2.png"]
    assert names(CustomDataset(str(tmp_path), [], 0), tmp_path) == order


def test_max_samples_keeps_every_class_and_proportions(tmp_path):
    make_class_folders(tmp_path, cat=12, dog=1, eel=6)

    cut = [CustomDataset(str(tmp_path), [], seed, max_samples=10) for seed in range(20)]

    assert {tuple(sorted(Counter(each.targets).items())) for each in cut} == {((0, 6), (1, 1), (2, 3))}
    assert len({tuple(names(each, tmp_path)) for each in cut}) > 10


def test_split_folders_become_the_splits(tmp_path):
    make_class_folders(tmp_path / "test", cat=1)
    make_class_folders(tmp_path / "train", cat=2, dog=3)

    images = CustomDataset(str(tmp_path), [], 0)
    cut = CustomDataset(str(tmp_path), [], 0, max_samples=2)

    assert images.splits == {"train": range(5), "test": range(5, 6)}
    assert (images.classes, images.targets) == (["cat", "dog"], [0, 1, 0, 1, 1, 0])
    assert names(images, tmp_path)[5] == "test/cat/0.png"
    assert cut.splits == {"train": range(2), "test": range(2, 3)}
    assert cut.targets == [0, 1, 0]


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    make_class_folders(tmp_path, train=1, tram=1)

    images = CustomDataset(str(tmp_path), [], 0)

    assert (images.classes, images.splits) == (["train", "tram"], {})


@pytest.mark.parametrize("extra", ["val/cat", "valid"])
def test_an_extra_folder_next_to_the_splits_is_rejected(tmp_path, extra):
    make_class_folders(tmp_path / "train", cat=1)
    draw(tmp_path / extra / "x.png")

    with pytest.raises(ValueError, match=rf"and also the folders \['{extra[:3]}"):
        CustomDataset(str(tmp_path), [], 0)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            ["cat", "dgo"],
            r"no folder found for the class 'dgo' \(did you mean 'dog'\?\); the folder 'dog' is not a class \(did you mean 'dgo'",
        ),
        (["cat"], r"the folder 'dog' is not a class$"),
        (["cat", "dog", "eel"], r"no folder found for the class 'eel'$"),
        (["cat", "dog", "dog"], r"'dog' is listed 2 times"),
    ],
)
def test_classes_that_differ_from_folders_are_listed(tmp_path, classes, message):
    make_class_folders(tmp_path, cat=1, dog=1)

    with pytest.raises(ValueError, match=message):
        CustomDataset(str(tmp_path), classes, 0)


def test_a_class_without_images_is_rejected(tmp_path):
    make_class_folders(tmp_path, cat=1)
    (tmp_path / "dog").mkdir()

    with pytest.raises(ValueError, match=r"class folders \['dog'\] in .* contain no images"):
        CustomDataset(str(tmp_path), [], 0)


def test_a_root_without_images_is_rejected_with_a_hint(tmp_path):
    draw(tmp_path / "flat/a.png")

    with pytest.raises(ValueError, match=r"dataset.root_dir is missing; set it to a folder with one folder of images"):
        CustomDataset("", [], 0)
    with pytest.raises(ValueError, match=rf"{tmp_path}/nowhere is not a folder; expected a folder with one folder of images"):
        CustomDataset(f"{tmp_path}/nowhere", [], 0)
    with pytest.raises(ValueError, match=rf"no images found in the folders of {tmp_path}/flat; expected one folder of images"):
        CustomDataset(f"{tmp_path}/flat", [], 0)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_image_kind_is_converted_to_the_mode(tmp_path, mode):
    folder = tmp_path / "cat"
    for kind, value in [("1", 1), ("L", 255), ("RGB", 255), ("RGBA", (255,) * 4), ("CMYK", (0,) * 4)]:
        draw(folder / f"{kind}.tif", value, mode=kind) if kind != "RGB" else draw(folder / "RGB.png", 255)
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(folder / "P.png", transparency=b"\x00\x80")
    save(folder / "16.png", np.full((2, 3), 65535), np.uint16)

    images = CustomDataset(str(tmp_path), [], 0, mode=mode)

    assert len(images) == 7
    for image, _ in (images[index] for index in range(7)):
        assert (image.mode, image.size) == (mode, (3, 2))
        assert image.getpixel((0, 0)) in (255, (255, 255, 255))


def test_16_bit_grayscale_is_scaled_not_clipped(tmp_path):
    save(tmp_path / "cat/a.png", [[0, 257, 25700, 65535]], np.uint16)
    save(tmp_path / "cat/b.tif", [[0, 257, 25700, 65535]], np.int32)

    images = CustomDataset(str(tmp_path), [], 0, mode="L")

    assert np.asarray(images[0][0]).tolist() == np.asarray(images[1][0]).tolist() == [[0, 1, 100, 255]]


@pytest.mark.parametrize(("values", "dtype"), [([[0, 65536]], np.int32), ([[-1, 5]], np.int32), ([[0.5]], np.float32)])
def test_values_of_unknown_range_are_rejected(tmp_path, values, dtype):
    save(tmp_path / "cat/a.tif", values, dtype)

    with pytest.raises(ValueError, match=r"cat/a.tif contains .*(8 or 16 bits per channel|between 0 and 65535)"):
        CustomDataset(str(tmp_path), [], 0)[0]


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees: the left column is displayed as the top row
    (tmp_path / "cat").mkdir()
    picture = Image.fromarray(np.array([[10, 20, 30], [40, 50, 60]], dtype=np.uint8))
    picture.save(tmp_path / "cat/a.png", exif=exif)

    image, _ = CustomDataset(str(tmp_path), [], 0, mode="L")[0]

    assert np.asarray(image).tolist() == [[40, 10], [50, 20], [60, 30]]


def test_unreadable_image_files_are_named(tmp_path):
    folder = tmp_path / "cat"
    save(folder / "a.png", np.random.default_rng(0).integers(0, 255, (64, 64)))
    save(folder / "b.jpg", np.random.default_rng(0).integers(0, 255, (64, 64)))
    for file in (folder / "a.png", folder / "b.jpg"):
        file.write_bytes(file.read_bytes()[:1000])
    (folder / "c.png").write_text("no image")
    (folder / "d.png").write_bytes(b"")

    images = CustomDataset(str(tmp_path), [], 0)

    for index, name in enumerate(["a.png", "b.jpg", "c.png", "d.png"]):
        with pytest.raises(ValueError, match=f"{tmp_path}/cat/{name} cannot be read as an image"):
            images[index]


@pytest.mark.parametrize("limit", [10, 4])
def test_a_decompression_bomb_is_rejected(tmp_path, monkeypatch, limit):
    draw(tmp_path / "cat/a.png", size=(4, 3))  # 12 pixels: Pillow warns above the limit, and raises above twice that
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)

    with pytest.raises(ValueError, match=r"cat/a.png cannot be read .*decompression bomb"):
        CustomDataset(str(tmp_path), [], 0)[0]


def test_a_dataset_holds_only_paths(tmp_path):
    for name in "ab":
        save(tmp_path / f"images/{name}.png", np.random.default_rng(0).integers(0, 255, (256, 256)))
        save(tmp_path / f"masks/{name}.png", np.zeros((256, 256)))
    images = MedicalDataset(str(tmp_path), [], 0)
    images[0]

    assert len(pickle.dumps(images)) < 1000
    assert {type(path) for pair in images.samples for path in pair} == {type(Path())}


def medical_dataset(root, *values, dtype=np.uint8, ending="png", **params):
    """A dataset of masks with these values, each with an image."""
    for number, mask in enumerate(values):
        save(root / f"masks/{number}.{ending}", mask, dtype)
        draw(root / f"images/{number}.jpg", size=np.array(mask).shape[::-1])
    return MedicalDataset(str(root), [], 0, **params)


def test_images_and_masks_are_paired_by_name(tmp_path):
    for name, value in [("b", 1), ("a", 2), ("c.v1", 3)]:
        draw(tmp_path / f"scans/{name}.png", 10 * value)
        save(tmp_path / f"labels/{name}.tif", [[value] * 3] * 2)

    pairs = MedicalDataset(str(tmp_path), [], 0, images="scans", masks="labels")
    cut = MedicalDataset(str(tmp_path), [], 0, images="scans", masks="labels", mode="L", max_samples=2)

    assert [(image.mode, image.getpixel((0, 0))[0], int(mask[0, 0])) for image, mask in (pairs[i] for i in range(3))] == [
        ("RGB", 20, 2),
        ("RGB", 10, 1),
        ("RGB", 30, 3),
    ]
    assert (len(cut), cut[0][0].mode) == (2, "L")


@pytest.mark.parametrize(
    ("values", "dtype", "wanted"),
    [
        ([[0, 255], [255, 0]], np.uint8, [[0, 1], [1, 0]]),
        ([[0, 1], [1, 0]], np.uint8, [[0, 1], [1, 0]]),
        ([[255, 255]], np.uint8, [[1, 1]]),
        ([[0, 0]], np.uint8, [[0, 0]]),
        ([[0, 1, 255]], np.uint8, [[0, 1, 255]]),
        ([[0, 3, 7]], np.uint8, [[0, 3, 7]]),
        ([[0, 300, 65535]], np.uint16, [[0, 300, 65535]]),
    ],
)
def test_two_valued_masks_are_binary_and_others_hold_indices(tmp_path, values, dtype, wanted):
    _, mask = medical_dataset(tmp_path, values, dtype=dtype)[0]

    assert (type(mask), mask.dtype) == (Mask, torch.int64)
    assert mask.tolist() == wanted


def test_a_one_bit_mask_is_binary(tmp_path):
    draw(tmp_path / "images/a.png")
    draw(tmp_path / "masks/a.png", 1, mode="1")

    assert MedicalDataset(str(tmp_path), [], 0)[0][1].tolist() == [[1, 1, 1]] * 2


def test_a_palette_mask_holds_its_indices(tmp_path):
    draw(tmp_path / "images/a.png", size=(3, 1))
    (tmp_path / "masks").mkdir()
    mask = Image.new("P", (3, 1))
    mask.putpalette([200, 0, 0] * 256)
    mask.putdata([0, 255, 0])
    mask.save(tmp_path / "masks/a.png")

    assert MedicalDataset(str(tmp_path), [], 0)[0][1].tolist() == [[0, 255, 0]]


def test_mask_values_map_values_to_classes(tmp_path):
    pairs = medical_dataset(tmp_path, [[0, 128, 64]], [[0, 128, 63]], mask_values=[64, 0, 128])

    assert pairs[0][1].tolist() == [[1, 2, 0]]
    with pytest.raises(ValueError, match=r"masks/1.png contains \[63\], which are not in mask_values \[64, 0, 128\]"):
        pairs[1]


def test_palette_maps_colours_to_classes(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for name, colours in (("a", [[0, 0, 0], [128, 0, 0], [0, 0, 128]]), ("b", [[0, 0, 0], [128, 0, 0], [0, 0, 127]])):
        Image.fromarray(np.array([colours], dtype=np.uint8)).save(tmp_path / f"masks/{name}.png")
        draw(tmp_path / f"images/{name}.png", size=(3, 1))
    palette = [(0, 0, 128), (128, 0, 0), (0, 0, 0)]

    pairs = MedicalDataset(str(tmp_path), [], 0, palette=palette)

    assert pairs[0][1].tolist() == [[2, 1, 0]]
    with pytest.raises(ValueError, match=r"masks/b.png contains \[\[0, 0, 127\]\], which are not in palette"):
        pairs[1]
    assert MedicalDataset(str(tmp_path), [], 0, palette=palette, ignore_index=255)[1][1].tolist() == [[2, 1, 255]]


def test_a_mask_value_beyond_the_classes_is_rejected(tmp_path):
    medical_dataset(tmp_path, [[0, 1, 2]], [[0, 1, 255]])
    classes = ["background", "tumour"]

    with pytest.raises(
        ValueError, match=r"masks/0.png contains \[2\], but the 2 classes are 0 to 1; set dataset.config.mask_values"
    ):
        MedicalDataset(str(tmp_path), classes, 0)[0]
    with pytest.raises(ValueError, match=r"masks/1.png contains \[255\]"):
        MedicalDataset(str(tmp_path), classes, 0)[1]
    assert MedicalDataset(str(tmp_path), classes, 0, ignore_index=255)[1][1].tolist() == [[0, 1, 255]]


def test_split_folders_hold_image_mask_pairs(tmp_path):
    medical_dataset(tmp_path / "train", [[0, 1]], [[1, 1]])
    medical_dataset(tmp_path / "test", [[0, 0]])

    pairs = MedicalDataset(str(tmp_path), [], 0)

    assert pairs.splits == {"train": range(2), "test": range(2, 3)}
    assert pairs[2][1].tolist() == [[0, 0]]
    assert pairs.groups == {"file": ["train/images/0.jpg", "train/images/1.jpg", "test/images/0.jpg"]}


def test_a_colour_mask_is_rejected(tmp_path):
    draw(tmp_path / "images/a.png")
    draw(tmp_path / "masks/a.png")

    with pytest.raises(ValueError, match=r"masks/a.png has mode RGB, but a mask must have one integer per pixel"):
        MedicalDataset(str(tmp_path), [], 0)[0]


def test_unpaired_files_are_named_up_to_five(tmp_path):
    medical_dataset(tmp_path, [[0, 1]])
    draw(tmp_path / "images/x.png")
    with pytest.raises(ValueError, match=rf"without a partner: {tmp_path}/images/x.png$"):
        MedicalDataset(str(tmp_path), [], 0)

    for name in "abcdef":
        draw(tmp_path / f"masks/{name}.png")
    with pytest.raises(ValueError, match=r"images/x.png, .*masks/d.png and 2 more$"):
        MedicalDataset(str(tmp_path), [], 0)


def test_two_files_with_one_stem_are_rejected(tmp_path):
    medical_dataset(tmp_path, [[0, 1]])
    draw(tmp_path / "images/0.png")

    with pytest.raises(ValueError, match=r"another file has the same name except for the suffix or the Unicode form: .*images/0"):
        MedicalDataset(str(tmp_path), [], 0)


def test_an_image_and_mask_size_mismatch_is_named(tmp_path):
    draw(tmp_path / "images/a.png", size=(4, 2))
    draw(tmp_path / "masks/a.tif", mode="L", size=(3, 2))

    message = re.escape(f"{tmp_path}/images/a.png has 4x2 pixels, but its mask {tmp_path}/masks/a.tif has 3x2")
    with pytest.raises(ValueError, match=message):
        MedicalDataset(str(tmp_path), [], 0)[0]


@pytest.mark.parametrize(
    ("folder", "message"), [("", "dataset.root_dir is missing"), ("x", "is not a folder"), (".", "no images found in .*images")]
)
def test_a_root_without_pairs_is_rejected_with_a_hint(tmp_path, folder, message):
    with pytest.raises(ValueError, match=f"{message}.*"):
        MedicalDataset(str(tmp_path / folder) if folder else "", [], 0)


@pytest.mark.parametrize(
    ("make", "params"),
    [(CustomDataset, {"max_samples": 0}), (MedicalDataset, {"max_samples": 0}), (MedicalDataset, {"mask_values": []}),
     (MedicalDataset, {"mask_values": [1, 1]}), (MedicalDataset, {"palette": [(1, 2, 3), (1, 2, 3)]}),
     (MedicalDataset, {"palette": [(0, 0, 0), (0, 254, 256)]}), (MedicalDataset, {"mask_values": [0, 2], "ignore_index": 1})],
)  # fmt: skip
def test_invalid_parameters_are_rejected(tmp_path, make, params):
    draw(tmp_path / "images/a.png")
    draw(tmp_path / "masks/a.png")
    draw(tmp_path / "cat/a.png")
    with pytest.raises(ValueError, match="got"):
        make(str(tmp_path), [], 0, **params)


def test_links_out_of_the_folder_require_follow_links(tmp_path):
    draw(tmp_path / "elsewhere/a.png")
    draw(tmp_path / "data/cat/b.png")
    (tmp_path / "data/cat/c.png").symlink_to(tmp_path / "data/cat/b.png")
    assert len(CustomDataset(str(tmp_path / "data"), [], 0)) == 2

    (tmp_path / "data/cat/a.png").symlink_to(tmp_path / "elsewhere/a.png")
    (tmp_path / "data/dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/train").symlink_to(tmp_path / "data")
    with pytest.raises(ValueError, match=r"symbolic links point outside .*parts: .*parts/train, "):
        CustomDataset(str(tmp_path / "parts"), [], 0)
    with pytest.raises(
        ValueError,
        match=r"symbolic links point outside .*data/cat/a.png, .*data/dog; to allow it, set 'dataset.config.follow_links = true'",
    ):
        CustomDataset(str(tmp_path / "data"), [], 0)
    assert len(CustomDataset(str(tmp_path / "data"), [], 0, follow_links=True)) == 4


@pytest.mark.parametrize("name", ["folder.png", "nowhere.jpg"])
def test_a_non_file_with_an_image_name_is_named(tmp_path, name):
    draw(tmp_path / "cat/a.png")
    (tmp_path / "cat/folder.png").mkdir() if name == "folder.png" else (tmp_path / "cat" / name).symlink_to("gone")

    with pytest.raises(ValueError, match=f"named like images, but not files: {tmp_path}/cat/{name}"):
        CustomDataset(str(tmp_path), [], 0)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_images_and_masks_pass_transforms_and_a_loader(tmp_path, num_workers):
    pairs = medical_dataset(tmp_path, [[0, 255], [255, 0]], [[0, 0], [0, 255]])
    flip, convert = hflip(1.0), to_tensor()

    loader = DataLoader([convert(*flip(*pairs[index])) for index in range(2)], batch_size=2, num_workers=num_workers)

    images, masks = next(iter(loader))
    assert (images.shape, images.dtype, masks.dtype) == ((2, 3, 2, 2), torch.float32, torch.int64)
    assert masks.tolist() == [[[1, 0], [0, 1]], [[0, 0], [1, 0]]]


def test_the_bundled_nuclei_are_disjoint_tiles_with_masks():
    nuclei = Nuclei(tile=128)
    image, mask = nuclei[5]

    assert len(nuclei) == 16
    assert nuclei.splits == {"test": range(12, 16)}
    assert (image.size, image.mode) == ((128, 128), "L")
    assert (mask.shape, sorted(mask.unique().tolist())) == ((128, 128), [0, 1])
    whole = np.concatenate(
        [np.concatenate([np.asarray(nuclei[4 * row + column][0]) for column in range(4)], 1) for row in range(4)]
    )
    assert np.array_equal(whole, nuclei.image)


@pytest.mark.parametrize("tile", [0, 8, 100, 512])
def test_a_tile_size_that_does_not_fit_is_rejected(tile):
    with pytest.raises(ValueError, match=f"got {tile}"):
        Nuclei(tile)


def test_a_folder_of_images_and_masks_is_not_a_classification_dataset(tmp_path):
    for name in ("images", "masks"):
        draw(tmp_path / "pairs" / name / "0.png")
        draw(tmp_path / "splits/train" / name / "0.png")

    for folder in ("pairs", "splits"):
        with pytest.raises(ValueError, match=r"contains the folders \['images', 'masks'\], .* set name = 'mask_folder'"):
            CustomDataset(str(tmp_path / folder), [], 0)
