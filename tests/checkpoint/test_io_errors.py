"""Errors of the disk end a run with one message and exit code 6, and the run resumes; long campaigns are commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("errors", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_a_failed_write_ends_a_run_with_a_message_and_it_resumes(errors):
    command = [sys.executable, "-m", "tests.io_errors", "--errors", str(errors), "--seed", str(errors)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"errors={errors} .* equal={errors}/{errors} wrong=0", done.stdout.splitlines()[-1])
