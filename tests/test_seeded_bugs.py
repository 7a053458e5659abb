"""The bugs that show the teeth of the tests are still bugs of this tree: `python -m tests.seeded_bugs` seeds them."""

import subprocess

import pytest

from tests.seeded_bugs.__main__ import ROOT, caught_by, patches


@pytest.mark.parametrize("patch", patches(), ids=lambda patch: patch.stem)
def test_a_bug_can_be_seeded_and_names_tests_that_are_there(patch):
    subprocess.run(["git", "apply", "--check", patch], cwd=ROOT, check=True)

    assert caught_by(patch)
    for test in caught_by(patch):
        file, name = test.split("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text()
