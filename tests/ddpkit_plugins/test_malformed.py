"""Corrupt and unusual data given to the real command: each file is named, without a traceback."""

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ddpkit.cli.main import main

TOML = """\
output_dir = "runs"
device = "cpu"
ddp = { nproc = 1 }
model = { name = "acme/tinynet" }
criterion = [{ type = "cross_entropy" }]
transform = { RESIZE = [8, 8], PIL_TO_TENSOR = [], CONVERT_IMAGE_DTYPE = ["float32"] }
[dataset]
name = "image_folder"
root_dir = "data"
config = { mode = "L" }
split = { train = 1.0, valid = 0.0, shuffle = false }
[dataloader]
shuffle = false
[train]
batch_size = 4
epoch = 1
optimizer = { type = "sgd", learning_rate = 0.1 }
"""
PIXELS = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
SAVED = 16
"""Number of samples; the last one is first read by the training itself."""


@pytest.fixture
def data(acme, tmp_path, monkeypatch):
    """A folder of valid images of two classes, next to the TOML."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(TOML)
    for name in [f"{kind}/{number:02}.png" for kind in ("cat", "dog") for number in range(SAVED // 2)]:
        save(tmp_path / "data" / name, PIXELS)
    return tmp_path / "data"


def save(file, values=PIXELS, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values)).save(file, **options)


def run(capsys, *sets):
    """Exit code and messages."""
    code = main(["run", "run.toml", *(part for each in sets for part in ("--set", each))])
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr
    return code, stderr


def png(width, height, *chunks):
    """A two-coloured PNG with this size in its header, and these chunks of data."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *((b"IDAT", chunk) for chunk in chunks), (b"IEND", b"")]
    framed = [struct.pack(">I", len(each)) + kind + each + struct.pack(">I", zlib.crc32(kind + each)) for kind, each in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def cut(file, at):
    save(file)
    file.write_bytes(file.read_bytes()[:at])


def flip_a_bit(file):
    save(file)
    content = bytearray(file.read_bytes())
    content[content.index(b"IDAT") + 9] ^= 1
    file.write_bytes(content)


def in_lab_colours(file):
    Image.new("LAB", (8, 8)).save(file)


def another_format(file):
    Image.new("L", (8, 8)).save(file, format="PPM")


BROKEN = {
    "cut.png": lambda file: cut(file, 70),
    "cut.jpg": lambda file: cut(file, 300),
    "cut.tif": lambda file: cut(file, 100),
    "cut.webp": lambda file: cut(file, 30),
    "cut.gif": lambda file: cut(file, 8),
    "cut.bmp": lambda file: cut(file, 60),
    "empty.png": lambda file: file.write_bytes(b""),
    "text.jpg": lambda file: file.write_text("this is no picture\n"),
    "another format.png": another_format,
    "flipped.png": flip_a_bit,
    "no data.png": lambda file: file.write_bytes(png(8, 8)),
    "ten gigapixels.png": lambda file: file.write_bytes(png(100_000, 100_000, zlib.compress(b"\0"))),
    "no pixel.png": lambda file: file.write_bytes(png(0, 8, zlib.compress(b"\0"))),
    "floats.tif": lambda file: save(file, np.full((8, 8), 0.5, dtype=np.float32)),
    "32 bits.tif": lambda file: save(file, np.full((8, 8), 70_000, dtype=np.int32)),
    "lab.tif": in_lab_colours,
    "two\nlines.png": lambda file: file.write_text("no picture"),
}
"""Unusable files, by name."""


@pytest.mark.parametrize(("place", "exit_code"), [("first", 2), ("second", 2), ("last", 1)])
@pytest.mark.parametrize("name", BROKEN)
def test_an_unreadable_file_is_named(data, capsys, name, place, exit_code):
    prefix = {"first": "cat/-", "second": "dog/-", "last": "dog/9"}[place]
    BROKEN[name](data / f"{prefix}{name}")

    code, stderr = run(capsys)

    assert code == exit_code
    assert repr(f"{prefix}{name}")[1:-1] in stderr
    assert f"train sample { ({'first': 0, 'second': 1, 'last': SAVED}[place]) } (" in stderr


def test_a_file_without_read_permission_is_named(data, capsys):
    (data / "cat/00.png").chmod(0)
    try:
        (data / "cat/00.png").read_bytes()
    except PermissionError:
        code, stderr = run(capsys)
        assert (code, "cat/00.png cannot be read as an image: [Errno 13]" in stderr) == (2, True)
    else:
        pytest.skip("root may read all")


def link(target):
    return lambda data: (data / "cat/link.png").symlink_to(target)


def outside(data):
    save(data.parent / "elsewhere.png")
    link("../../elsewhere.png")(data)


FOLDERS = {
    "a folder called like an image": (lambda data: (data / "cat/a.png").mkdir(), "named like images, but not files: {data}/cat/a.png"),
    "a link to nothing": (link("gone.png"), "named like images, but not files: {data}/cat/link.png"),
    "a link to itself": (link("link.png"), "named like images, but not files: {data}/cat/link.png"),
    "a link that leads out": (outside, "symbolic links point outside {data}: {data}/cat/link.png; to allow it, set 'dataset.config.follow_links = true'"),
    "a class without an image": (lambda data: (data / "eel").mkdir(), "the class folders ['eel'] in {data} contain no images"),
    "split folders next to class folders": (lambda data: save(data / "train/cat/a.png"), "has the splits ['train'] and also the folders ['cat', 'dog']"),
    "no folder": (lambda data: data.rename(data.with_name("date")), "dataset.root_dir {data} is not a folder; expected a folder with one folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_an_unusable_folder_is_named(data, capsys, case):
    spoil, message = FOLDERS[case]
    spoil(data)

    code, stderr = run(capsys)

    assert code == 2
    assert message.format(data=data) in stderr


def test_unusual_but_valid_images_are_accepted(data, capsys):
    names = ["plain", "größe 图", "with space", "two\nlines", "'quoted' \"twice\"", "-dash", "a" * 200]
    for name in names:
        save(data / f"cat/{name}.png")
    save(data / "dog/1x1.png", PIXELS[:1, :1])
    save(data / "dog/16 bits.png", PIXELS.astype(np.uint16) * 257)
    save(data / "dog/wide.jpg", np.tile(PIXELS, (1, 40)))
    Image.new("CMYK", (8, 8)).save(data / "dog/cmyk.jpg")
    Image.new("RGBA", (8, 8)).save(data / "dog/alpha.webp")
    frames = [Image.new("P", (8, 8), value) for value in (1, 2)]
    frames[0].save(data / "dog/moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(data / "dog/pages.tif", save_all=True, append_images=frames[1:])

    code, stderr = run(capsys)

    assert code == 0, stderr
    assert f"train {SAVED + len(names) + 7}\n" in stderr


MASKS = [
    'model={ name = "unet", config = { n_channels = 1, n_classes = 2, depth = 1, width = 1 } }',
    'dataset={ name = "mask_folder", root_dir = "data", config = { mode = "L" }, split = { train = 1.0, valid = 0.0, shuffle = false } }',
    'classes=["background", "tumour"]',
]  # fmt: skip
MASK = np.indices((8, 8)).sum(0).astype(np.uint8) % 2


@pytest.fixture
def masks(data):
    """Images with masks."""
    for number in range(SAVED):
        save(data / f"images/{number:02}.png")
        save(data / f"masks/{number:02}.png", MASK)
    return data / "masks"


WRONG_MASKS = {
    "of another size": (lambda file: save(file, MASK[:4]), "has 8x8 pixels, but its mask {file} has 8x4"),
    "with an unknown class": (lambda file: save(file, MASK * 2), "{file} contains [2], but the 2 classes are 0 to 1"),
    "in colours": (lambda file: save(file, np.stack([MASK] * 3, 2)), "{file} has mode RGB, but a mask must have one integer per pixel"),
    "cut off": (lambda file: cut(file, 70), "{file} cannot be read as an image: "),
    "of floats": (lambda file: Image.fromarray(MASK.astype(np.float32)).save(file, format="TIFF"), "{file} has mode F, but a mask"),
}  # fmt: skip


@pytest.mark.parametrize(("number", "exit_code"), [(0, 2), (SAVED - 1, 1)])
@pytest.mark.parametrize("case", WRONG_MASKS)
def test_an_unusable_mask_is_named(masks, capsys, case, number, exit_code):
    spoil, message = WRONG_MASKS[case]
    file = masks / f"{number:02}.png"
    spoil(file)

    code, stderr = run(capsys, *MASKS)

    assert code == exit_code
    assert message.format(file=file) in stderr


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda masks: (masks / "07.png").unlink(), "without a partner: {data}/images/07.png"),
        (
            lambda masks: save(masks / "07.bmp"),
            "another file has the same name except for the suffix or the Unicode form: {data}/masks/07",
        ),
    ],
)
def test_unpaired_masks_are_named(masks, capsys, spoil, message):
    spoil(masks)

    code, stderr = run(capsys, *MASKS)

    assert code == 2
    assert message.format(data=masks.parent) in stderr


def table(text):
    """A CSV table of the images: the overrides for it, and a function that writes it."""
    return ['dataset.name="csv"'], lambda data: (data / "labels.csv").write_bytes(text)


def coco(**lists):
    """The same for COCO annotations."""
    image = {"id": 1, "file_name": "cat/00.png", "width": 8, "height": 8}
    square = {"image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]}
    whole = {"images": [image], "categories": [{"id": 3, "name": "square"}], "annotations": [square]}
    changed = {name: [{**whole[name][0], **entry} for entry in lists.get(name, [{}])] for name in whole}
    sets = [MASKS[0], 'dataset.name="coco"', "dataset.config={ target = 'mask', images = '' }"]
    return sets, lambda data: (data / "annotations.json").write_text(json.dumps(changed))


def with_file_text(given, text):
    """The same with another text in the file."""
    return given[0], lambda data: (data / "annotations.json").write_text(text)


LISTS = {
    "no table": ((['dataset.name="csv"'], lambda data: None), "{data}/labels.csv cannot be read as a CSV table: [Errno 2]"),
    "bytes": (table(b"path,label\n\xff\xfe\0"), "{data}/labels.csv cannot be read as a CSV table: "),
    "nothing": (table(b""), "{data}/labels.csv has no column 'path', 'label'; its columns are []"),
    "a header": (table(b"path,label\n"), "{data}/labels.csv has a header but no samples"),
    "another column": (table(b"path,labels\ncat/00.png,cat\n"), "has no column 'label' (did you mean 'labels'?)"),
    "a short line": (table(b"path,label\ncat/00.png\n"), "has 2 columns, but line 2 has more or fewer"),
    "a missing image file": (table(b"path,label\ncat/99.png,cat\n"), "files not found: {data}/cat/99.png"),
    "a path out of root_dir": (table(b"path,label\n../run.toml,cat\n"), "not in the folder {data}: {data}/../run.toml"),
    "an image twice": (table(b"path,label\ncat/00.png,a\ncat/00.png,b\n"), "lists images more than once: 'cat/00.png' in lines 2, 3"),
    "an image twice with different paths": (table(b"path,label\ncat/00.png,a\ncat//./00.png,b\n"), "lists images more than once: 'cat/00.png' in lines 2, 3"),
    "no label": (table(b"path,label\ncat/00.png,0\ncat/01.png, \n"), "has no label in line 3; add"),
    "a label below 0": (table(b"path,label\ncat/00.png,0\ncat/01.png,-1\n"), "labels.csv, line 3: a numeric label must be a class index 0, 1, ...; got -1"),
    "no JSON": (with_file_text(coco(), "{"), "{data}/annotations.json is not valid JSON: "),
    "no file": ((coco()[0], lambda data: None), "{data}/annotations.json cannot be read: No such file"),
    "deep JSON": (with_file_text(coco(), "[" * 100_000), "{data}/annotations.json is not valid JSON: "),
    "another JSON": (with_file_text(coco(), "[]"), "{data}/annotations.json has no list 'images'"),
    "an entry without a file name": (with_file_text(coco(), '{"images": [{"id": 1}]}'), "annotations.json: images[0] must have the key 'file_name' with a string"),
    "no such image": (coco(annotations=[{"image_id": 2}]), "annotations[0] has an image_id or category_id that is not in the file"),
    "no such category": (coco(annotations=[{"category_id": 4}]), "annotations[0] has an image_id or category_id that is not in the file"),
    "two images with the same id": (coco(images=[{}, {"file_name": "cat/01.png"}]), "annotations.json: two images have the same id"),
    "a missing image": (coco(images=[{"file_name": "x.png"}]), "files not found: {data}/x.png"),
    "another size": (coco(images=[{"width": 9}]), "cat/00.png has 8x8 pixels, but its annotation has 9x8"),
    "a size that is not a number": (coco(images=[{"width": "8"}]), "annotations.json: width and height of an image must be integers and at least 1; got '8'"),
    "a size of zero": (coco(images=[{"width": 0}]), "width and height of an image must be integers and at least 1"),
    "an image of two entries": (coco(images=[{}, {"id": 2, "file_name": "./cat/00.png"}]), "annotations.json lists images more than once: ['cat/00.png']"),
    "a name that is not a string": (coco(images=[{"file_name": 0}]), "images[0] must have the key 'file_name' with a string"),
    "a category that is a text": (coco(categories=[{"id": "3"}]), "categories[0] must have the key 'id' with an integer"),
    "a category that is a list": (coco(annotations=[{"category_id": [3]}]), "annotations[0] must have the key 'category_id' with an integer"),
    "an RLE mask of another size": (coco(annotations=[{"segmentation": {"counts": [3, 61], "size": [4, 16]}}]), "run lengths are for [height, width] [4, 16], but the image has [8, 8]"),
    "a point that is not finite": (coco(annotations=[{"segmentation": [[1, 1, 10**400, 1, 5, 5]]}]), "whose segmentation is not a polygon: [1, 1, 1000"),
    "no polygon": (coco(annotations=[{"segmentation": None}]), "whose segmentation is not a polygon: None"),
    "half a polygon": (coco(annotations=[{"segmentation": [[1, 2, 3]]}]), "whose segmentation is not a polygon: [1, 2, 3]"),
    "an RLE mask that ends early": (coco(annotations=[{"segmentation": {"counts": [3, 4], "size": [8, 8]}}]), "whose run lengths (RLE) do not add up to the number of pixels of the image"),
}  # fmt: skip


@pytest.mark.parametrize("case", LISTS)
def test_an_unusable_annotation_file_is_named(data, capsys, case):
    (sets, write), message = LISTS[case]
    write(data)

    code, stderr = run(capsys, *sets)

    assert code == 2
    assert message.format(data=data, parent=data.parent) in stderr
