"""Tables are aligned, and wrapped to the width of the terminal."""

import pytest

from ddpkit.cli.table import align_rows, split_columns, wrap_rows

ROWS = [
    ("KEY", "VALUE", "FROM"),
    ("train.optimizer.learning_rate", "0.1", "x.toml:3:1"),
    ("model.name", "resnet18", "configs/x.toml:4:1 (builtin/resnet18 of ddpkit)"),
]


def test_a_row_is_one_aligned_line_in_a_pipe():
    assert list(align_rows([*ROWS, ("classes", "x" * 60, "default")])) == [
        "KEY                            VALUE     FROM",
        "train.optimizer.learning_rate  0.1       x.toml:3:1",
        "model.name                     resnet18  configs/x.toml:4:1 (builtin/resnet18 of ddpkit)",
        f"classes                        {'x' * 60}  default",
    ]


def test_a_chinese_character_takes_two_columns():
    assert list(align_rows([("classes", "猫", "x"), ("seed", "dog", "y")])) == ["classes  猫   x", "seed     dog  y"]


def test_cells_are_wrapped_between_words_on_a_terminal():
    assert list(wrap_rows(ROWS, 62)) == [
        "KEY                            VALUE     FROM",
        "train.optimizer.learning_rate  0.1       x.toml:3:1",
        "model.name                     resnet18  configs/x.toml:4:1",
        "                                         (builtin/resnet18 of",
        "                                         ddpkit)",
    ]


def test_only_a_word_that_does_not_fit_is_divided():
    assert [line[41:] for line in wrap_rows(ROWS, 54)][2:] == ["configs/", "x.toml:4:1", "(builtin/", "resnet18 of", "ddpkit)"]


@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
def test_nothing_is_left_out_at_any_width(width):
    lines = list(wrap_rows(ROWS, width))

    assert sorted("".join(lines).replace(" ", "")) == sorted("".join(map("".join, ROWS)).replace(" ", ""))
    assert all(line.split()[0] in ("KEY", ROWS[1][0], ROWS[2][0]) for line in lines if not line.startswith(" "))


def test_columns_that_do_not_fit_are_shown_in_another_table():
    rows = [("KEY", "run a", "run-b", "run-c"), ("seed", "1", "2", "3")]

    assert list(split_columns(rows, 25)) == [rows]
    assert list(split_columns(rows, 24)) == [
        [("KEY", "run a", "run-b"), ("seed", "1", "2")],
        [("KEY", "run-c"), ("seed", "3")],
    ]
    assert [len(table[0]) for table in split_columns(rows, 1)] == [2, 2, 2]
