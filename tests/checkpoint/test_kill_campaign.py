"""A short campaign; long ones are commands (`python -m tests.campaign`)."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_kills_and_signals_at_random_times_lose_no_save():
    command = [sys.executable, "-m", "tests.campaign", "--kills", "5", "--signals", "6"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"kills=5 signals=6 runs=(\d+) lost=0 equal=\1/\1", done.stdout.splitlines()[-1])
