"""The examples of docs/libraries.md: components of other libraries in a short plugin file."""

import re
from pathlib import Path

import pytest
import tomli

from ddpkit.testing import ddpkit

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```(?:python|toml)\n# (?P<name>\S+)\n(?P<text>.*?)```", re.DOTALL)
FILES = {found["name"]: found["text"] for found in BLOCK.finditer((DOCS / "libraries.md").read_text())}
LONGEST = 15
"""Largest number of lines of a plugin file, without empty lines."""


@pytest.mark.slow
@pytest.mark.parametrize("library", ["timm", "smp", "monai"])
def test_components_of_a_library_train_on_two_ranks(library, tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    assert sum(map(bool, FILES[f"{library}_parts.py"].splitlines())) <= LONGEST

    outcome = ddpkit("run", f"{library}.toml", "--nproc", "2", cwd=tmp_path).assert_done()

    assert len(outcome.history) == tomli.loads(FILES[f"{library}.toml"])["train"]["epoch"]
