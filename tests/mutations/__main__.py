"""Insert each bug of the catalog into a copy of the source tree, and check that at least one of its tests fails.

First, all of these tests must pass without a bug. The exit code is 1 if a bug is not detected.
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
"""Line of pytest's output about a test that failed, or whose fixture failed."""
TEST_SECONDS = 300
"""Seconds after which a test counts as failed; long enough for a machine under load."""
PASSED, FAILED = 0, 1
"""Exit codes of pytest. Any other code, for example for an unknown test, shows nothing about a bug."""
TAIL = 2000
"""Number of characters of pytest's output that are shown."""


@attrs.frozen
class Outcome:
    """Result of the tests for one bug."""

    id: str
    is_caught: bool
    seconds: float
    detail: str
    """Name of the test that failed, or output of pytest."""

    def __str__(self) -> str:
        return f"{'caught  ' if self.is_caught else 'SURVIVED'} {self.id}  {self.seconds:.1f} s  {self.detail}"


def main(arguments: Sequence[str]) -> int:
    """Test all selected bugs; print one line per bug, and the totals at the end."""
    options = parse_arguments(arguments)
    mutations = select_mutations(options.ids)
    with tempfile.TemporaryDirectory() as folder:
        trees = [copy_tree(Path(folder).resolve() / str(number)) for number in range(max(options.jobs, 1))]
        if not check_unmodified(trees[0], mutations):
            return 1
        n_caught = 0
        for outcome in run_all(mutations, trees):
            n_caught += outcome.is_caught
            print(outcome, flush=True)
    print(f"mutations={len(mutations)} caught={n_caught}")
    return int(n_caught < len(mutations))


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="ids of the mutations to test (default: all)")
    parser.add_argument(
        "-j", dest="jobs", type=int, default=1, metavar="N", help="number of mutations to test in parallel (default: 1)"
    )
    return parser.parse_args(arguments)


def select_mutations(ids: Sequence[str]) -> list[Mutation]:
    """Return the mutations with these ids, or all. Each must fit the source, so that mistakes are found before the tests run."""
    known = {mutation.id: mutation for mutation in catalog.load()}
    if unknown := [each for each in ids if each not in known]:
        raise SystemExit(f"unknown mutation ids: {', '.join(unknown)}")
    mutations = [known[each] for each in ids or known]
    for mutation in mutations:
        mutation.mutated()
    return mutations


def copy_tree(tree: Path) -> Path:
    """Copy the working tree, including untracked files, but without the files that git ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # git still lists files that were deleted since the last commit
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    check_import_source(tree)
    return tree


def check_import_source(tree: Path) -> None:
    """Raise SystemExit if tests in the copy would import the installed source instead of the copy_tree one."""
    code = "import ddpkit, ddpkit_plugins; print(ddpkit.__file__, ddpkit_plugins.__file__)"
    command = [sys.executable, "-P", "-c", code]
    imported = subprocess.run(command, env=environment(tree), capture_output=True, text=True, check=True).stdout
    if imported.count(f"{tree}/") != len(("ddpkit", "ddpkit_plugins")):
        raise SystemExit(f"the tests must import the copy in {tree}, but they import {imported}")


def environment(tree: Path) -> dict[str, str]:
    """Return the environment of pytest. It writes no bytecode, because the bytecode of a bug must not be used for the next one."""
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}


def check_unmodified(tree: Path, mutations: Iterable[Mutation]) -> bool:
    """Return whether all tests of the mutations pass without a bug."""
    done = run_tests(tree, sorted({test for mutation in mutations for test in mutation.caught_by}))
    if done.returncode != PASSED:
        print(f"{done.stdout}{done.stderr}\nthe tests must pass without a bug, but they fail")
    return done.returncode == PASSED


def run_tests(tree: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run tests in one process until the first failure, including slow tests."""
    addopts = "addopts=--import-mode=importlib -p no:cacheprovider"
    options = ["-x", "-q", "-rfE", "--tb=short", "-o", addopts, "-o", f"timeout={TEST_SECONDS}"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    return subprocess.run(command, cwd=tree, env=environment(tree), capture_output=True, text=True, check=False)


def run_all(mutations: Iterable[Mutation], trees: Sequence[Path]) -> Iterator[Outcome]:
    """Yield the result of each mutation when it is finished. Each tree is used for one mutation at a time."""
    free: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for tree in trees:
        free.put(tree)
    pool = ThreadPoolExecutor(len(trees))
    try:
        for future in as_completed([pool.submit(run_mutation, mutation, free) for mutation in mutations]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def run_mutation(mutation: Mutation, free: "queue.SimpleQueue[Path]") -> Outcome:
    """Test a mutation in a free tree."""
    tree, start = free.get(), time.monotonic()
    try:
        with inserted(mutation, tree):
            done = run_tests(tree, mutation.caught_by)
    finally:
        free.put(tree)
    is_caught, detail = evaluate(done)
    return Outcome(mutation.id, is_caught, time.monotonic() - start, detail)


@contextlib.contextmanager
def inserted(mutation: Mutation, tree: Path) -> Iterator[None]:
    """Insert the bug into the tree, and remove it at the end."""
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


def evaluate(done: subprocess.CompletedProcess[str]) -> tuple[bool, str]:
    """Return whether a test failed, and its name or the reason why none failed."""
    failure = FAILURE.search(done.stdout)
    if done.returncode == FAILED and failure:
        return True, failure[1]
    message = f"pytest ended with {done.returncode}:\n{(done.stdout + done.stderr)[-TAIL:]}"
    return False, "its tests pass" if done.returncode == PASSED else message


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
