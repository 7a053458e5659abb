"""Shows that the tests have teeth: puts one bug after the other into a copy of the tree, and runs the tests that should see it.

`python -m tests.seeded_bugs [NAME ...]` from the root of the repository; every bug is a patch beside this file. It is caught
when one of its tests fails, which all pass without it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

BUGS = Path(__file__).resolve().parent
ROOT = BUGS.parent.parent
CAUGHT_BY = "caught by: "
FAILURE = re.compile(r"FAILED (\S+::.*?)(?: - |$)", re.MULTILINE)
PATIENCE = 300
"""Seconds of a test, on a machine that is busy too."""
FAILED, PASSED = 1, 0
"""What pytest exits with; anything else is about the patch or the names of tests, and shows nothing."""


def patches(names: Sequence[str] = ()) -> list[Path]:
    """Of these bugs; of all without names."""
    chosen = [BUGS / f"{name}.patch" for name in names] or sorted(BUGS.glob("*.patch"))
    if missing := [patch.stem for patch in chosen if not patch.exists()]:
        raise SystemExit(f"no bug is called {', '.join(missing)}")
    return chosen


def caught_by(patch: Path) -> list[str]:
    """The tests that should see a bug, as pytest names them."""
    return [line.removeprefix(CAUGHT_BY) for line in patch.read_text().splitlines() if line.startswith(CAUGHT_BY)]


def copied(tree: Path) -> None:
    """The tree as it is now, without what git does not know."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)


def tested(tree: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run tests of a tree against its own `ddpkit`, to the first failure."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    modules = [sys.executable, "-P", "-c", "import ddpkit, ddpkit_plugins; print(ddpkit.__file__, ddpkit_plugins.__file__)"]
    imported = subprocess.run(modules, env=environment, capture_output=True, text=True, check=True).stdout
    if imported.count(f"{tree}/") != 2:
        raise SystemExit(f"the copy is not what is imported: {imported}")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rf", "--tb=short", "-o", f"timeout={PATIENCE}", *tests]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def with_bug(patch: Path, clean: Path) -> tuple[bool, str]:
    """Whether it is caught, and by which test or why not."""
    with tempfile.TemporaryDirectory() as folder:
        tree = shutil.copytree(clean, Path(folder).resolve() / "tree")
        applied = subprocess.run(["git", "apply", str(patch)], cwd=tree, capture_output=True, text=True, check=False)
        if applied.returncode:
            return False, f"the patch does not apply: {applied.stderr.strip()}"
        done = tested(tree, caught_by(patch))
    failure = FAILURE.search(done.stdout)
    if done.returncode == FAILED and failure:
        return True, failure[1]
    return False, "" if done.returncode == PASSED else done.stdout[-2000:]


def main(names: Sequence[str]) -> int:
    """Print what became of each bug; 1 if one survived."""
    chosen, n_caught = patches(names), 0
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder).resolve()
        copied(clean)
        without = tested(clean, sorted({test for patch in chosen for test in caught_by(patch)}))
        if without.returncode != PASSED:
            sys.stdout.write(f"{without.stdout}\nthe tests do not pass without a bug\n")
            return 1
        for patch in chosen:
            began = time.monotonic()
            is_caught, by = with_bug(patch, clean)
            n_caught += is_caught
            said = "caught  " if is_caught else "SURVIVED"
            sys.stdout.write(f"{said} {patch.stem}  {time.monotonic() - began:.1f} s  {by}\n")
            sys.stdout.flush()
    sys.stdout.write(f"bugs={len(chosen)} caught={n_caught}\n")
    return int(n_caught < len(chosen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
