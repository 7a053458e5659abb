"""Every key and value has a position."""

import pytest

from ddpkit import toml
from ddpkit.errors import ConfigError

TEXT = """\
# a comment
title = "x" # [not.a.table]
[a.b]
"quoted key" = 'y'
c.d = [1, [2, 3],
  4]
[[item]]
name = '''
many = lines'''
inline = { one = 1, two = { three = 3 } }
[[item]]
name = "second"
[item.deeper]
key = 2026-01-01
"""


@pytest.mark.parametrize(
    ("path", "where", "at_key"),
    [
        (("title",), "2:9", "2:1"),
        (("a", "b"), "3:4", "3:4"),
        (("a", "b", "quoted key"), "4:16", "4:1"),
        (("a", "b", "c", "d"), "5:7", "5:3"),
        (("a", "b", "c", "d", 1, 0), "5:12", "5:12"),
        (("a", "b", "c", "d", 2), "6:3", "6:3"),
        (("item", 0), "7:3", "7:3"),
        (("item", 0, "name"), "8:8", "8:1"),
        (("item", 0, "inline", "two", "three"), "10:37", "10:29"),
        (("item", 1, "name"), "12:8", "12:1"),
        (("item", 1, "deeper", "key"), "14:7", "14:1"),
        (("item", 1, "missing"), "11:3", "11:3"),
        (("nowhere",), "1:1", "1:1"),
    ],
)
def test_positions(path, where, at_key):
    document = toml.parse(TEXT, "x.toml")

    assert document.place(path).where == f"x.toml:{where}"
    assert document.place(path, at_key=True).where == f"x.toml:{at_key}"


def leaves(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    yield path
    for key, item in items:
        yield from leaves(item, (*path, key))


def test_every_path_of_the_data_has_a_span():
    document = toml.parse(TEXT, "x.toml")

    assert set(document.spans) == set(leaves(document.data)) - {()}


def test_windows_line_ends_count_as_one():
    assert toml.parse('a = 1\r\nb = "x"\r\n', "x.toml").place(("b",)).where == "x.toml:2:5"


def test_broken_toml_names_its_position():
    with pytest.raises(ConfigError, match=r"x\.toml:2:5: is not TOML"):
        toml.parse("a = 1\nb = \n", "x.toml")


@pytest.mark.parametrize("value", ["a", 'q"\\\n', 1, 1.5, True, [1, ["b"]], {"a": {"b c": [1]}}])
def test_inline_is_toml_for_the_same_value(value):
    assert toml.parse(f"x = {toml.inline(value)}", "").data == {"x": value}


def test_a_file_that_is_missing_is_a_message(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        toml.read(tmp_path / "x.toml")
