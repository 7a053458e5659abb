"""The commit-msg hook checks the subject."""

import subprocess
import sys
from pathlib import Path

import pytest

HOOK = Path(__file__).parents[1] / ".ci/check_commit_message.py"


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("config: check the fractions of a split\n\nWhy.\n", ""),
        ("Merge branch 'x'\n", ""),
        ("Check the fractions\n", "must have the form 'scope: imperative'"),
        ("config: check the fractions.\n", "must have the form 'scope: imperative'"),
        ("config: " + "check " * 20 + "it\n", "at most 72"),
        ("config: check\nthe fractions\n", "the second line must be empty"),
    ],
)
def test_a_subject_has_a_scope_and_at_most_72_characters(tmp_path, message, problem):
    file = tmp_path / "message"
    file.write_text(message)

    done = subprocess.run([sys.executable, HOOK, file], capture_output=True, text=True, check=False)

    assert (done.returncode != 0) == bool(problem)
    assert problem in done.stderr
