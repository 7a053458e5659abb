"""The third-party package `tests/acme`, installed by pip into a folder of its own."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "acme"


@contextlib.contextmanager
def installed(site):
    """Install the package into the folder `site`, which is on `sys.path` of this process and its children inside the context."""
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", *install, str(SOURCE)], check=True)
    before = os.environ.get("PYTHONPATH", "")
    sys.path.insert(0, str(site))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), before]))  # an empty entry would be the current folder
    try:
        yield site
    finally:
        sys.path.remove(str(site))
        os.environ["PYTHONPATH"] = before
