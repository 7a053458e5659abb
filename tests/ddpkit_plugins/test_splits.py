"""Splits are disjoint, reproducible, and of the requested sizes."""

import json
import random
from collections import Counter
from itertools import chain

import pytest

from ddpkit_plugins.splits.predefined import predefined
from ddpkit_plugins.splits.random_split import kfold, train_valid_test_split


def test_splits_are_disjoint_and_have_the_requested_sizes():
    parts = train_valid_test_split(101, seed=1, train=0.7, valid=0.2, test=0.1)

    assert [len(parts[part]) for part in ("train", "valid", "test")] == [71, 20, 10]
    assert sorted(parts["train"] + parts["valid"] + parts["test"]) == list(range(101))


def test_samples_left_by_the_fractions_are_unused():
    parts = train_valid_test_split(100, seed=1, train=0.5, valid=0.1)

    assert len(parts["train"] + parts["valid"] + parts["test"]) == 60


def sizes(parts):
    return [len(parts[split]) for split in ("train", "valid", "test")]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ((), [80, 10, 10]),
        (("test",), [90, 10, 0]),
        (("valid",), [90, 0, 10]),
        (("valid", "test"), [100, 0, 0]),
        (("train",), [0, 50, 50]),
        (("train", "valid"), [0, 0, 100]),
        (("train", "valid", "test"), [0, 0, 0]),
    ],
)
def test_without_fractions_the_splits_that_the_dataset_lacks_are_filled(own, expected):
    assert sizes(train_valid_test_split(100, 1, own_groups=dict.fromkeys(own))) == expected


@pytest.mark.parametrize(
    ("given", "expected"), [({"train": 0.5}, [50, 0, 0]), ({"test": 0.2}, [0, 0, 20]), ({"train": 0.7, "test": 0.3}, [70, 0, 30])]
)
def test_if_a_fraction_is_given_the_absent_ones_are_0(given, expected):
    assert sizes(train_valid_test_split(100, 1, **given)) == expected


@pytest.mark.parametrize("split", [train_valid_test_split, kfold])
def test_labels_are_stratified_unless_the_order_is_kept(split):
    default = split(100, 1, LABELS)

    assert class_counts(default["valid"]) == ([6, 3, 1] if split is train_valid_test_split else [12, 6, 2])
    assert default == split(100, 1, LABELS, stratify=True)
    assert default != split(100, 1, LABELS, stratify=False) == split(100, 1)
    assert split(100, 1, LABELS, shuffle=False) == split(100, 1, shuffle=False)


def test_a_class_that_is_too_small_is_placed_at_random_with_a_warning(caplog):
    labels = [0] * 95 + [1, 1] + [2] + [3, 3]
    names = ["cat", "dog"]
    places = Counter()
    for seed in range(200):
        parts = train_valid_test_split(100, seed, labels, classes=names)
        places += Counter(split for split, found in parts.items() if 97 in found)
        assert class_counts(parts["train"], labels)[0] in (76, 77, 75, 78)

    assert places["train"] == pytest.approx(160, abs=25)
    assert min(places["valid"], places["test"]) > 5
    assert (
        "classes with fewer samples than the 3 splits are placed at random: 'dog' (2), 2 (1), 3 (2); add samples" in caplog.text
    )


def test_random_state_takes_precedence_over_the_seed():
    first = train_valid_test_split(50, seed=1)

    assert first == train_valid_test_split(50, seed=2, random_state=1) == train_valid_test_split(50, seed=1)
    assert first != train_valid_test_split(50, seed=2)


def test_without_shuffle_the_order_is_kept():
    parts = train_valid_test_split(10, seed=1, train=0.6, valid=0.2, test=0.2, shuffle=False)

    assert parts == {"train": [0, 1, 2, 3, 4, 5], "valid": [6, 7], "test": [8, 9]}


@pytest.mark.parametrize("fractions", [{"train": 0.9, "valid": 0.2}, {"train": -0.1}])
def test_invalid_fractions_are_rejected(fractions):
    with pytest.raises(ValueError, match="add up to at most 1"):
        train_valid_test_split(10, seed=1, **fractions)


LABELS = [0] * 60 + [1] * 30 + [2] * 10
PATIENTS = {
    "file": [f"p{number // 4:02}_{number % 4}.png" for number in range(100)],
    "site": [str(number % 3) for number in range(100)],
}


def class_counts(positions, labels=LABELS):
    """The number of samples of each class."""
    return [sum(labels[position] == label for position in positions) for label in range(3)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_stratified_splits_keep_class_proportions(shuffle):
    parts = train_valid_test_split(100, 1, LABELS, train=0.7, valid=0.2, test=0.1, stratify=True, shuffle=shuffle)

    assert {part: class_counts(found) for part, found in parts.items()} == {
        "train": [42, 21, 7],
        "valid": [12, 6, 2],
        "test": [6, 3, 1],
    }
    assert sorted(chain(*parts.values())) == list(range(100))


def test_stratified_splits_match_sklearn_in_size_and_balance():
    from sklearn.model_selection import train_test_split

    labels = [number % 7 // 2 for number in range(211)]
    ours = train_valid_test_split(211, 5, labels, train=0.75, valid=0.25, stratify=True)
    theirs = train_test_split(range(211), test_size=0.25, stratify=labels, random_state=5)[1]

    count = [[sum(labels[each] == label for each in part) for label in range(4)] for part in (ours["valid"], theirs)]
    assert len(ours["valid"]) == len(theirs)
    assert all(abs(mine - their) <= 1 for mine, their in zip(*count, strict=True))


@pytest.mark.parametrize("targets", [None, [[0, 1]] * 10, [0.5] * 10])
def test_stratify_requires_one_class_per_sample(targets):
    with pytest.raises(ValueError, match="stratify requires a dataset whose 'targets' have one class per sample"):
        train_valid_test_split(10, 1, targets, stratify=True)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("stratify", [True, False])
@pytest.mark.parametrize("group", [r"(p\d+)_", r"^(p\d\d)"])
def test_no_group_is_in_two_splits(group, stratify, shuffle):
    parts = train_valid_test_split(
        100, 3, LABELS, PATIENTS, train=0.6, valid=0.2, test=0.2, group=group, stratify=stratify, shuffle=shuffle
    )

    patients = [{PATIENTS["file"][position][:3] for position in found} for found in parts.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 25
    assert [len(found) for found in parts.values()] == pytest.approx([60, 20, 20], abs=4 if stratify else 0)  # a group's size
    assert sorted(chain(*parts.values())) == list(range(100))
    assert parts == train_valid_test_split(
        100, 3, LABELS, PATIENTS, train=0.6, valid=0.2, test=0.2, group=group, stratify=stratify, shuffle=shuffle
    )


def test_grouped_splits_approximate_the_fractions():
    generator = random.Random(0)
    names = [f"g{group}" for group in range(60) for _ in range(generator.randint(1, 30))]

    parts = train_valid_test_split(len(names), 1, None, {"file": names}, train=0.5, valid=0.2, group=r"(g\d+)")

    sizes = [len(found) / len(names) for found in parts.values()]
    assert sizes == pytest.approx([0.5, 0.2, 0.0], abs=0.02)


@pytest.mark.parametrize(
    ("group", "columns", "message"),
    [
        (
            "patient",
            PATIENTS,
            r"group must be a column \(file, site\) or a pattern with one group in parentheses, .*; got 'patient'",
        ),
        (r"(p\d+)_(\d)", PATIENTS, "a pattern with one group"),
        (r"(p\d+", PATIENTS, "group is not a valid regular expression: missing \\)"),
        (r"(q\d+)_", PATIENTS, r"finds no group in 100 of 100 names, such as \['p00_0.png', "),
        (r"(p\d+)_", {"site": ["1"] * 100}, r"group must be one of the columns \['site'\]"),
        ("site", {"site": ["1"] * 99 + [" "]}, "1 samples have no value in the column 'site'; the first one has index 99"),
        ("site", None, "group requires a dataset with file names or columns"),
        ("site", {"site": ["1"] * 100}, "1 groups are too few: a split got no group"),
    ],
)
def test_invalid_groups_are_rejected(group, columns, message):
    with pytest.raises(ValueError, match=message):
        train_valid_test_split(100, 1, LABELS, columns, group=group)


@pytest.mark.parametrize("split", [train_valid_test_split, kfold])
def test_a_group_of_a_predefined_split_is_in_no_other_split(split):
    mine = {"file": [f"p{number // 2}_{number}.png" for number in range(20)]}

    assert split(20, 1, None, mine, {"test": {"file": ["p77_1.png", "p77_2.png"]}}, group=r"(p\d+)_")["train"]

    with pytest.raises(
        ValueError,
        match=r"2 groups are in more than one split, including the dataset's own splits \(test\), such as \['p4', 'p5'\]",
    ):
        split(20, 1, None, mine, {"test": {"file": ["p77_1.png", "p4_9.png", "p5_9.png"]}}, group=r"(p\d+)_")


def test_predefined_splits_must_not_share_a_group():
    own = {"train": {"file": ["p1_1.png", "p2_1.png"]}, "valid": {"file": ["p3_1.png"]}}
    nothing = {"file": []}

    assert train_valid_test_split(0, 1, None, nothing, own, group=r"(p\d+)_") == {"train": [], "valid": [], "test": []}

    own["valid"]["file"].append("p2_2.png")
    with pytest.raises(
        ValueError,
        match=r"1 groups are in more than one split, including the dataset's own splits \(train, valid\), such as \['p2'\]",
    ):
        train_valid_test_split(0, 1, None, nothing, own, group=r"(p\d+)_")


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"stratify": True}, {"group": r"(p\d+)_", "stratify": False}])
def test_each_sample_validates_in_exactly_one_fold(options):
    folds = [kfold(100, 2, LABELS, PATIENTS, n_splits=5, fold=fold, **options) for fold in range(5)]

    assert sorted(chain(*(fold["valid"] for fold in folds))) == list(range(100))
    for fold in folds:
        assert sorted(fold["train"] + fold["valid"]) == list(range(100))
        assert len(fold["valid"]) == 20
        assert not options.get("stratify", "shuffle" not in options) or class_counts(fold["valid"]) == [12, 6, 2]
        names = [{PATIENTS["file"][position][:3] for position in part} for part in fold.values()]
        assert "group" not in options or not names[0] & names[1]


def test_fold_sizes_differ_by_at_most_one():
    assert [len(kfold(17, 1, n_splits=5, fold=fold)["valid"]) for fold in range(5)] == [3, 4, 3, 4, 3]


@pytest.mark.parametrize(("n_splits", "fold"), [(1, 0), (11, 0), (5, 5), (5, -1)])
def test_invalid_folds_are_rejected(n_splits, fold):
    with pytest.raises(
        ValueError, match=rf"n_splits must be between 2 and the number of samples \(10\), .*; got {n_splits} and {fold}"
    ):
        kfold(10, 1, n_splits=n_splits, fold=fold)


def test_a_split_file_lists_samples_by_number_or_name(tmp_path):
    (tmp_path / "split.json").write_text(json.dumps({"train": [3, "p00_1.png"], "valid": [0], "test": []}))

    parts = predefined(100, str(tmp_path), PATIENTS, file="split.json")

    assert parts == {"train": [3, 1], "valid": [0], "test": []}
    assert predefined(100, str(tmp_path)) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON: Expecting"),
        ("[1]", "must contain a list of samples per split; only the keys train, valid, test are allowed"),
        ('{"val": [1]}', "only the keys train, valid, test are allowed"),
        ('{"train": 1}', "only the keys train, valid, test are allowed"),
        (
            '{"train": [100, -1, "x.png", true]}',
            r"lists unknown samples: \[100, -1, 'x.png', True\]; it can list only the 100 samples",
        ),
        ('{"train": [1, 2], "valid": ["p00_1.png"]}', r"lists samples more than once: \[1\]"),
    ],
)
def test_an_invalid_split_file_is_rejected(tmp_path, text, message):
    (tmp_path / "split.json").write_text(text)

    with pytest.raises(ValueError, match=message):
        predefined(100, str(tmp_path), PATIENTS, file="split.json")
