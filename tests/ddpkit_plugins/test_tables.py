"""The dataset of images listed in a CSV file."""

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


def test_each_row_is_a_sample_with_a_class_index(root):
    table = CsvDataset(write(root, *LINES), [], 0, mode="L")

    assert (table.classes, table.targets) == (["cat", "dog"], [1, 0, 1])
    assert [table[index][0].getpixel((0, 0)) for index in range(3)] == [120, 40, 80]
    assert table[1][1] == 0
    assert CsvDataset(str(root), ["dog", "cat"], 0).targets == [0, 1, 0]


def test_samples_can_be_grouped_by_column_or_file(root):
    table = CsvDataset(write(root, *LINES), [], 0)
    parts = train_valid_test_split(3, 0, table.targets, table.groups, train=0.5, valid=0.5, group="patient", stratify=False)

    assert table.groups["file"] == ["scans/3.png", "scans/1.png", "scans/2.png"]
    assert {frozenset(part) for part in parts.values()} == {frozenset({0, 2}), frozenset({1}), frozenset()}


@pytest.mark.parametrize("classes", [[], ["x", "y", "z"]])
def test_numeric_labels_are_class_indices(root, classes):
    lines = ["scans/0.png,2,A", "scans/1.png,0,A", "scans/2.png,1,A"]

    assert CsvDataset(write(root, *lines), classes, 0).targets == [2, 0, 1]


@pytest.mark.parametrize(
    "labels",
    [("007", "010", "100"), ("0", "00", "1"), ("0.0", "1.0", "2.0"), ("+1", "2", "3"), ("-0", "1", "0"), ("1e0", "2", "3")],
)
def test_only_canonical_integers_are_class_indices(root, labels):
    table = CsvDataset(write(root, *(f"scans/{number}.png,{label},A" for number, label in enumerate(labels))), [], 0)

    assert table.classes == sorted(labels)
    assert table.targets == [sorted(labels).index(label) for label in labels]


def test_line_numbers_count_line_breaks_and_empty_lines(root):
    lines = ['scans/0.png,a,"two\nlines"', "", 'scans/1.png,a,"two\r\nlines"', "scans/1.png,a,B"]

    with pytest.raises(ValueError, match=r"'scans/1.png' in lines 5, 7"):
        CsvDataset(write(root, *lines), [], 0)


def test_a_column_that_occurs_twice_is_rejected(root):
    with pytest.raises(ValueError, match="has the column 'label' more than once"):
        CsvDataset(write(root, "scans/0.png,a,b", header="path,label,label"), [], 0)


def test_similar_labels_are_reported(root, caplog):
    CsvDataset(write(root, "scans/0.png,0,A", "scans/1.png,00,A", "scans/2.png,cat,A", "scans/3.png,Cat,A"), [], 0)

    assert [record.getMessage().partition("labels.csv")[2] for record in caplog.records] == [
        ": the labels '0' in line 2 and '00' in line 3 are different classes; correct one of them if they are the same",
        ": the labels 'cat' in line 4 and 'Cat' in line 5 are different classes; correct one of them if they are the same",
    ]


@pytest.mark.parametrize(("labels", "line", "gap"), [("0 1 3", 4, 2), ("1 2", 3, 0), ("1000 0", 2, 1)])
def test_class_indices_with_gaps_are_rejected(root, labels, line, gap):
    lines = [f"scans/{number}.png,{label},A" for number, label in enumerate(labels.split())]

    with pytest.raises(
        ValueError, match=rf"labels.csv, line {line}: .* no sample has the label {gap}; .* name them: classes = \["
    ):
        CsvDataset(write(root, *lines), [], 0)
    names = sorted(labels.split())
    assert CsvDataset(str(root), names, 0).targets == [names.index(label) for label in labels.split()]


def test_numeric_class_names_take_precedence_over_indices(root):
    assert CsvDataset(write(root, "scans/0.png,7,A", "scans/1.png,9,A"), ["9", "7"], 0).targets == [1, 0]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cat", "dgo"], r"labels.csv has labels that are not in 'classes': 'dog' in line 2 \(did you mean 'dgo'\?\)"),
        (["cat"], "labels that are not in 'classes': 'dog' in line 2;"),
    ],
)
def test_unknown_labels_are_named(root, classes, message):
    with pytest.raises(ValueError, match=message):
        CsvDataset(write(root, *LINES), classes, 0)


def test_an_unknown_numeric_class_name_is_rejected(root):
    with pytest.raises(ValueError, match="labels that are not in 'classes': '0' in line 3; 'classes' are"):
        CsvDataset(write(root, "scans/0.png,1,A", "scans/1.png,0,A"), ["1", "2"], 0)


def test_whitespace_around_labels_is_stripped(root):
    assert CsvDataset(write(root, "scans/0.png, cat,A", "scans/1.png,cat ,A"), [], 0).classes == ["cat"]


def test_label_indices_beyond_the_classes_are_rejected(root):
    with pytest.raises(ValueError, match=r"labels.csv, line 2: the label is 2, but the 2 classes are 0 to 1"):
        CsvDataset(write(root, "scans/0.png,2,A"), ["x", "y"], 0)


def test_a_column_may_define_the_splits(root):
    lines = ["scans/0.png,a,train", "scans/1.png,a,test", "scans/2.png,b,train", "scans/3.png,b,"]

    table = CsvDataset(write(root, *lines, header="path,label,part"), [], 0, part="part")

    assert table.splits == {"train": [0, 2], "test": [1]}
    with pytest.raises(ValueError, match=r"the split of a sample must be train, valid, test or empty; the table has \['val'\]"):
        CsvDataset(write(root, "scans/0.png,a,val", header="path,label,part"), [], 0, part="part")


def test_max_samples_applies_per_split(root):
    lines = [f"scans/{number}.png,a,{part}" for number, part in enumerate(["train", "train", "train", "valid", "test", ""])]

    cut = CsvDataset(write(root, *lines, header="path,label,part"), [], 0, part="part", max_samples=2)

    assert {part: len(indices) for part, indices in cut.splits.items()} == {"train": 2, "valid": 1, "test": 1}
    assert len(cut) == 5


def test_max_samples_keeps_each_class(root):
    lines = [f"scans/{number}.png,{'rare' if number == 3 else 'often'},A" for number in range(6)]

    for seed in range(10):
        cut = CsvDataset(write(root, *lines), [], seed, max_samples=2)
        assert sorted(cut.targets) == [0, 1]
        assert len(cut.groups["patient"]) == len(cut.samples) == 2
