"""Tables of text fit into a terminal and never break a name."""

import pytest
from rich.cells import cell_len

from ddpkit.runs.screen.text_table import TextTable, count, format_duration, format_value

TABLE = TextTable(
    {"epoch": 5, "valid accuracy": 9, "准确率": 8, "learning rate": 0}, ["epoch", "准确率", "valid accuracy", "learning rate"]
)
CELLS = {"epoch": "1/20", "valid accuracy": "0.5000*", "准确率": "0.25", "learning rate": "0.1"}


def test_a_narrow_terminal_drops_the_least_important_columns():
    assert TABLE.fit(46) == {"epoch", "准确率", "valid accuracy", "learning rate"}
    assert TABLE.fit(45) == {"epoch", "准确率", "valid accuracy"}
    assert TABLE.fit(20) == {"epoch", "准确率"}
    assert TABLE.fit(1) == {"epoch"}


@pytest.mark.parametrize("limit", [20, 45, 46])
def test_the_lines_of_a_table_have_one_width(limit):
    columns = TABLE.fit(limit)

    header, row = TABLE.line({name: name for name in TABLE.widths}, columns), TABLE.line(CELLS, columns)

    assert cell_len(header) == cell_len(row) <= limit
    assert all(name in header for name in columns)


def test_numbers_and_durations_are_short():
    assert [format_value(value) for value in (0.98, 0.0, 1e-6, 123456.0, float("nan"))] == [
        "0.9800",
        "0.0000",
        "1.00e-06",
        "1.23e+05",
        "-",
    ]
    seconds = [0.04, 9.96, 59, 90, 720, 5400, 86400, float("nan")]
    assert [format_duration(each) for each in seconds] == ["0.0 s", "10 s", "59 s", "1.5 min", "12 min", "1.5 h", "1.0 d", "-"]


def test_a_count_has_the_number_of_its_noun():
    assert [count(number, "rank") for number in (0, 1, 1000)] == ["0 ranks", "1 rank", "1,000 ranks"]
