"""Images that a CSV file names."""

import pytest
from PIL import Image

from ddpkit_plugins.datasets.csv_dataset import CsvDataset
from ddpkit_plugins.splits.random_split import train_valid_test_split


@pytest.fixture
def root(tmp_path):
    """Six images in a folder."""
    (tmp_path / "scans").mkdir()
    for number in range(6):
        Image.new("L", (4, 4), 40 * number).save(tmp_path / f"scans/{number}.png")
    return tmp_path


def write(root, *lines, header="path,label,patient"):
    (root / "labels.csv").write_text("\n".join([header, *lines]), encoding="utf-8-sig")
    return str(root)


LINES = [
    f"scans/{number},{kind},{patient}"
    for number, kind, patient in [("3.png", "dog", "A"), ("1.png", "cat", "B"), ("./2.png", "dog", "A")]
]


def test_each_line_is_a_sample_with_the_number_of_its_class(root):
    table = CsvDataset(write(root, *LINES), [], 0, mode="L")

    assert (table.classes, table.targets) == (["cat", "dog"], [1, 0, 1])
    assert [table[index][0].getpixel((0, 0)) for index in range(3)] == [120, 40, 80]
    assert table[1][1] == 0
    assert CsvDataset(str(root), ["dog", "cat"], 0).targets == [0, 1, 0]


def test_samples_may_be_grouped_by_any_column_and_by_their_files(root):
    table = CsvDataset(write(root, *LINES), [], 0)
    parts = train_valid_test_split(3, 0, table.targets, table.groups, train=0.5, valid=0.5, group="patient")

    assert table.groups["file"] == ["scans/3.png", "scans/1.png", "scans/2.png"]
    assert {frozenset(part) for part in parts.values()} == {frozenset({0, 2}), frozenset({1}), frozenset()}


@pytest.mark.parametrize("classes", [[], ["x", "y", "z"]])
def test_labels_that_are_numbers_are_classes(root, classes):
    lines = ["scans/0.png,2,A", "scans/1.png,0,A"]

    assert CsvDataset(write(root, *lines), classes, 0).targets == [2, 0]


def test_labels_that_are_numbers_and_names_of_classes_are_names(root):
    assert CsvDataset(write(root, "scans/0.png,7,A", "scans/1.png,9,A"), ["9", "7"], 0).targets == [1, 0]


@pytest.mark.parametrize(
    ("classes", "message"),
    [(["cat", "dgo"], r"labels that are no class: 'dog' \(did you mean 'dgo'\?\)"), (["cat"], "labels that are no class: 'dog'")],
)
def test_labels_that_are_no_class_are_named(root, classes, message):
    with pytest.raises(ValueError, match=message):
        CsvDataset(write(root, *LINES), classes, 0)


def test_a_number_among_names_that_are_numbers_is_no_class(root):
    with pytest.raises(ValueError, match="labels that are no class: '0'; 'classes' are"):
        CsvDataset(write(root, "scans/0.png,1,A", "scans/1.png,0,A"), ["1", "2"], 0)


def test_spaces_around_a_label_are_not_of_it(root):
    assert CsvDataset(write(root, "scans/0.png, cat,A", "scans/1.png,cat ,A"), [], 0).classes == ["cat"]


def test_numbers_beyond_the_classes_are_named(root):
    with pytest.raises(ValueError, match="labels go up to 2, and the 2 classes are 0 to 1"):
        CsvDataset(write(root, "scans/0.png,2,A"), ["x", "y"], 0)


def test_a_column_may_say_the_parts(root):
    lines = ["scans/0.png,a,train", "scans/1.png,a,test", "scans/2.png,b,train", "scans/3.png,b,"]

    table = CsvDataset(write(root, *lines, header="path,label,part"), [], 0, part="part")

    assert table.parts == {"train": [0, 2], "test": [1]}
    with pytest.raises(ValueError, match=r"parts are train, valid, test, or nothing; the table has \['val'\]"):
        CsvDataset(write(root, "scans/0.png,a,val", header="path,label,part"), [], 0, part="part")


def test_max_samples_keeps_so_many_of_each_part(root):
    lines = [f"scans/{number}.png,a,{part}" for number, part in enumerate(["train", "train", "train", "valid", "test", ""])]

    cut = CsvDataset(write(root, *lines, header="path,label,part"), [], 0, part="part", max_samples=2)

    assert {part: len(indices) for part, indices in cut.parts.items()} == {"train": 2, "valid": 1, "test": 1}
    assert len(cut) == 5


def test_max_samples_keeps_each_class(root):
    lines = [f"scans/{number}.png,{'rare' if number == 3 else 'often'},A" for number in range(6)]

    for seed in range(10):
        cut = CsvDataset(write(root, *lines), [], seed, max_samples=2)
        assert sorted(cut.targets) == [0, 1]
        assert len(cut.groups["patient"]) == len(cut.samples) == 2
