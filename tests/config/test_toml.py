"""Parsed TOML has a position for every key and value."""

import pytest

from ddpkit.config import toml
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
def test_keys_and_values_have_positions(path, where, at_key):
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


def test_crlf_counts_as_one_line_ending():
    assert toml.parse('a = 1\r\nb = "x"\r\n', "x.toml").place(("b",)).where == "x.toml:2:5"


def test_invalid_toml_is_reported_with_its_position():
    with pytest.raises(ConfigError, match=r"x\.toml:2:5: is not valid TOML"):
        toml.parse("a = 1\nb = \n", "x.toml")


@pytest.mark.parametrize("value", ["a", 'q"\\\n', 1, 1.5, True, [1, ["b"]], {"a": {"b c": [1]}}])
def test_format_inline_round_trips(value):
    assert toml.parse(f"x = {toml.format_inline(value)}", "").data == {"x": value}


def test_a_missing_file_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        toml.read(tmp_path / "x.toml")


HOSTILE = {
    "a long dotted key": ("a." * 50_000 + "a = 1", "a key must have at most 30 parts"),
    "a long header": ("[" + "a." * 50_000 + "a]", "a key must have at most 30 parts"),
    "deep arrays": ("a = " + "[" * 50_000 + "]" * 50_000, "nested too deeply"),
    "arrays a little too deep": ("a = " + "[" * 40 + "]" * 40, "nested too deeply"),
    "deep inline tables": ("a = " + "{a=" * 20_000 + "1" + "}" * 20_000, "nested too deeply"),
    "a number of 300 digits": ("seed = " + "9" * 300, "x.toml:1:8: seed: is an integer of more than 64 bits"),
    "a number of 5,000 digits": ("seed = " + "9" * 5_000, "contains a value that cannot be read"),
    "not a number": ("[train]\nepoch = nan", "x.toml:2:9: train.epoch: must be a finite number; got nan"),
    "infinity": ("x = [1, -inf]", "x[1]: must be a finite number; got -inf"),
    "10 MB": ("x = 1\n" * 1_700_000, "is too large for a config; the limit is 1 MB"),
    "very many values": ("x = [" + "1," * 200_000 + "]", "has too many values for a config; the limit is 100,000"),
    "NUL": ("x = 1\nseed = \0", "x.toml:2:8: is not valid TOML"),
    "a lone carriage return": ("x = 1\ry = 2", "x.toml:1:6: is not valid TOML"),
    "an unclosed string": ('x = "' + "y" * 100_000, "is not valid TOML"),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_text_gives_one_short_message(tmp_path, kind):
    text, message = HOSTILE[kind]
    file = tmp_path / "x.toml"
    file.write_bytes(text.encode())

    with pytest.raises(ConfigError) as raised:
        toml.read(file)

    assert message in str(raised.value)
    assert len(raised.value.problems) == 1
    assert len(raised.value.with_excerpts()) < 1000


def test_invalid_utf8_is_rejected(tmp_path):
    (tmp_path / "x.toml").write_bytes(b'task = "\xff"')

    with pytest.raises(ConfigError, match="is not UTF-8 text: invalid start byte at byte 8"):
        toml.read(tmp_path / "x.toml")


def test_a_bom_and_crlf_are_accepted(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbfa = 1\r\nb = 2\r\n")

    document = toml.read(tmp_path / "x.toml")

    assert document.data == {"a": 1, "b": 2}
    assert document.place(("b",)).where.endswith("x.toml:2:5")


def test_an_excerpt_has_the_line_and_a_caret():
    document = toml.parse("a = 1\n\tb = ['x', 2]\n", "x.toml")

    assert document.place(("b", 1)).excerpt == "    2 |  b = ['x', 2]\n      |            ^"
    long = toml.parse(f"x = ['{'y' * 500}', 7]", "x.toml").place(("x", 1)).excerpt
    assert [len(line) for line in long.splitlines()] == [60, 59]
