"""The documentation says what the code does."""

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_config_reference_is_fresh(tmp_path):
    (tmp_path / "config_reference.py").write_bytes((DOCS / "config_reference.py").read_bytes())
    subprocess.run([sys.executable, tmp_path / "config_reference.py"], check=True)

    assert (tmp_path / "config.md").read_text() == (DOCS / "config.md").read_text(), "run: python docs/config_reference.py"
