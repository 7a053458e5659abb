"""Texts are plain, standard English, and a list of all messages is there to be read."""

import ast
import re
from pathlib import Path

from tests.helpers import messages

ROOT = Path(__file__).parents[1]
BANNED = ROOT / "tests/banned_words.txt"
FOLDERS = ("ddpkit", "ddpkit_plugins", "configs", "docs", "examples", "tests", "benchmarks", ".ci", ".github")
PROSE = {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".txt"}
FORMAT_NAME = r"(?!(?<=[\"'])tally\b)"
"""A quoted `tally` is a name in the checkpoint format, which old checkpoints have."""
FRAGMENT = {"of", "what", "as", "those", "by", "where", "both", "which", "whose", "how", "to"}
"""Words that begin a phrase without a verb."""


def test_the_list_of_messages_is_complete():
    assert messages.SNAPSHOT.read_text() == messages.snapshot(), (
        "read the changed messages, then: python -m tests.helpers.messages"
    )


def test_no_text_has_a_banned_word():
    banned = dict(line.split(" -> ") for line in BANNED.read_text().splitlines() if not line.startswith("#"))
    pattern = re.compile(rf"\b{FORMAT_NAME}({'|'.join(banned)})\b", re.IGNORECASE)

    found = [
        f"{file.relative_to(ROOT)}:{number}: {match[0]!r}; write: {banned[match[0].lower()]}"
        for file in files()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        for match in pattern.finditer(line)
    ]

    assert not found, "\n".join(found)


def test_at_most_5_percent_of_docstrings_are_fragments():
    texts = [text for file in files() if file.suffix == ".py" for text in docstrings(file)]
    fragments = [text for text in texts if len(text.split()) <= 3 or re.match(r"\w*", text)[0].lower() in FRAGMENT]

    assert len(fragments) <= 0.05 * len(texts), "\n".join(fragments)


def files():
    folders = [file for name in FOLDERS for file in (ROOT / name).rglob("*")]
    return [file for file in (*ROOT.iterdir(), *folders) if file.suffix in PROSE and file not in {BANNED, Path(__file__)}]


def docstrings(file):
    nodes = (
        node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
    )
    return [text for node in nodes if (text := ast.get_docstring(node))]
