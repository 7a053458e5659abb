"""Put one bug after the other into a copy of the tree, and see whether the tests that it names fail.

All of these tests have to pass without a bug first. Exits with 1 when a bug survives.
"""

import argparse
import contextlib
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import attrs

from tests.mutations import catalog
from tests.mutations.catalog import ROOT, Mutation

FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+::.*?)(?: - |$)", re.MULTILINE)
"""A test that failed, or whose fixture did: without the bug it passes."""
TEST_SECONDS = 300
"""After which a test counts as failed: long, for a machine that is busy."""
PASSED, FAILED = 0, 1
"""Exit codes of pytest; any other is about names of tests, and shows nothing about a bug."""
TAIL = 2000
"""Characters of pytest's output that are shown."""


@attrs.frozen
class Outcome:
    """What became of a bug."""

    id: str
    is_caught: bool
    seconds: float
    detail: str
    """The test that caught it, or what pytest said."""

    def __str__(self) -> str:
        return f"{'caught  ' if self.is_caught else 'SURVIVED'} {self.id}  {self.seconds:.1f} s  {self.detail}"


def main(arguments: Sequence[str]) -> int:
    """Run the campaign: a line for each bug as it ends, and their number at the end."""
    options = parsed(arguments)
    mutations = chosen(options.ids)
    with tempfile.TemporaryDirectory() as folder:
        trees = [copied(Path(folder).resolve() / str(number)) for number in range(max(options.jobs, 1))]
        if not passes(trees[0], mutations):
            return 1
        n_caught = 0
        for outcome in outcomes(mutations, trees):
            n_caught += outcome.is_caught
            print(outcome, flush=True)
    print(f"mutations={len(mutations)} caught={n_caught}")
    return int(n_caught < len(mutations))


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="mutations to try; all without one")
    parser.add_argument("-j", dest="jobs", type=int, default=1, metavar="N", help="so many at a time (default 1)")
    return parser.parse_args(arguments)


def chosen(ids: Sequence[str]) -> list[Mutation]:
    """The mutations of these ids, or all; refuses one that does not fit the source before any test has run."""
    known = {mutation.id: mutation for mutation in catalog.load()}
    if unknown := [each for each in ids if each not in known]:
        raise SystemExit(f"there is no mutation {', '.join(unknown)}")
    mutations = [known[each] for each in ids or known]
    for mutation in mutations:
        mutation.mutated()
    return mutations


def copied(tree: Path) -> Path:
    """A copy of the working tree, new files included, without what git ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # git still lists what was deleted since the last commit
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    refuse_other_source(tree)
    return tree


def refuse_other_source(tree: Path) -> None:
    """The tests of a copy must import the source of that copy, not what is installed."""
    code = "import ddpkit, ddpkit_plugins; print(ddpkit.__file__, ddpkit_plugins.__file__)"
    command = [sys.executable, "-P", "-c", code]
    imported = subprocess.run(command, env=environment(tree), capture_output=True, text=True, check=True).stdout
    if imported.count(f"{tree}/") != len(("ddpkit", "ddpkit_plugins")):
        raise SystemExit(f"not the copy is imported, but {imported}")


def environment(tree: Path) -> dict[str, str]:
    """No bytecode is written: that of a bug must not be used for the next one."""
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}


def passes(tree: Path, mutations: Iterable[Mutation]) -> bool:
    """Whether all tests that are named pass without a bug."""
    done = tested(tree, sorted({test for mutation in mutations for test in mutation.caught_by}))
    if done.returncode != PASSED:
        print(f"{done.stdout}{done.stderr}\nthe tests do not pass without a bug")
    return done.returncode == PASSED


def tested(tree: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run tests of a tree in one process, to the first failure; slow ones too."""
    addopts = "addopts=--import-mode=importlib -p no:cacheprovider"
    options = ["-x", "-q", "-rfE", "--tb=short", "-o", addopts, "-o", f"timeout={TEST_SECONDS}"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    return subprocess.run(command, cwd=tree, env=environment(tree), capture_output=True, text=True, check=False)


def outcomes(mutations: Iterable[Mutation], trees: Sequence[Path]) -> Iterator[Outcome]:
    """Of each mutation, as they end; as many at a time as there are trees."""
    free: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for tree in trees:
        free.put(tree)
    pool = ThreadPoolExecutor(len(trees))
    try:
        for future in as_completed([pool.submit(tried, mutation, free) for mutation in mutations]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def tried(mutation: Mutation, free: "queue.SimpleQueue[Path]") -> Outcome:
    """Try a mutation in a tree that is free."""
    tree, began = free.get(), time.monotonic()
    try:
        with seeded(mutation, tree):
            done = tested(tree, mutation.caught_by)
    finally:
        free.put(tree)
    is_caught, detail = judged(done)
    return Outcome(mutation.id, is_caught, time.monotonic() - began, detail)


@contextlib.contextmanager
def seeded(mutation: Mutation, tree: Path) -> Iterator[None]:
    """The tree with the bug, while it lasts."""
    texts = mutation.mutated(tree)
    before = {file: file.read_text(encoding="utf-8") for file in texts}
    try:
        write(texts)
        yield
    finally:
        write(before)


def write(texts: Mapping[Path, str]) -> None:
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")


def judged(done: subprocess.CompletedProcess[str]) -> tuple[bool, str]:
    """Whether a test failed, and which one or why not."""
    failure = FAILURE.search(done.stdout)
    if done.returncode == FAILED and failure:
        return True, failure[1]
    said = f"pytest ended with {done.returncode}:\n{(done.stdout + done.stderr)[-TAIL:]}"
    return False, "its tests pass" if done.returncode == PASSED else said


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
