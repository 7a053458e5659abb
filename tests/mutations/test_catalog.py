"""Every mutation still fits the source and names existing tests; `python -m tests.mutations` runs them."""

import re
from collections import Counter

import pytest

from tests.mutations import catalog
from tests.mutations.catalog import HERE, ROOT, Change, Mutation, MutationError

ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SOURCE = """\
import functools

FIRST, LIMIT = 1, 2
RATE: float = 0.5


@functools.cache
def doubled(n):
    return n + n


class Outer:
    class Inner:
        def value(self):
            return 1

    def value(self):
        return 1


def value():
    return 1
"""


def test_every_mutation_fits_the_source_and_existing_tests():
    files = sorted(HERE.glob("*.toml"))
    mutations = [mutation for file in files for mutation in catalog.load_file(file)]

    times = Counter(each.id for each in mutations)
    faults = [f"{key}: {n} mutations have this id" for key, n in times.items() if n > 1]
    faults += [fault for mutation in mutations for fault in faults_of(mutation)]
    faults += [f"{each.id}: belongs to {package_of(each)}.toml" for file in files for each in misplaced(file)]

    assert mutations
    assert faults == []


def faults_of(mutation):
    """Yield descriptions of all mistakes in a mutation."""
    if not ID.fullmatch(mutation.id):
        yield f"{mutation.id}: an id must consist of lower-case words with hyphens"
    if not mutation.cost or not mutation.caught_by:
        yield f"{mutation.id}: 'cost' and 'caught_by' must not be empty"
    try:
        mutation.mutated()
    except MutationError as error:
        yield f"{mutation.id}: {error}"
    yield from (f"{mutation.id}: test {test} was not found" for test in mutation.caught_by if not is_there(test))


def is_there(test):
    file, _, name = test.partition("::")
    return (ROOT / file).is_file() and f"\ndef {name.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8")


def misplaced(file):
    """Return the mutations of a file that belong to another package."""
    return [mutation for mutation in catalog.load_file(file) if package_of(mutation) != file.stem]


def package_of(mutation):
    top, _, rest = mutation.changes[0].module.partition(".")
    return top if top == "ddpkit_plugins" else rest.partition(".")[0]


def changed(*changes):
    """Return the changed lines of the source, with their numbers."""
    text = SOURCE
    for target, replace, replacement in changes:
        text = Change(f"m:{target}", replace, replacement).applied(text)
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line not in SOURCE.splitlines()]


@pytest.mark.parametrize(
    ("target", "line"),
    [("Outer.Inner.value", 15), ("Outer.value", 18), ("value", 22)],
)
def test_a_target_is_found_by_its_qualified_name(target, line):
    (number, text) = changed((target, "return 1", "return 2"))[0]

    assert (number, text.strip()) == (line, "return 2")


def test_decorators_and_constants_can_be_changed():
    assert changed(("doubled", "@functools.cache", "@functools.lru_cache")) == [(7, "@functools.lru_cache")]
    assert changed(("LIMIT", "2", "3"), ("RATE", "0.5", "0.1")) == [(3, "FIRST, LIMIT = 1, 3"), (4, "RATE: float = 0.1")]


def test_a_whole_module_can_be_a_target():
    assert changed(("", "import functools", "import functools, os")) == [(1, "import functools, os")]


@pytest.mark.parametrize(
    ("target", "replace", "message"),
    [
        ("Outer", "return 1", "occurs 2 times"),
        ("doubled", "n * n", "occurs 0 times"),
        ("Outer.Other.value", "1", "Outer.Other.value was not found"),
        ("functools", "import", "functools was not found"),
    ],
)
def test_an_inapplicable_change_is_rejected(target, replace, message):
    with pytest.raises(MutationError, match=message):
        changed((target, replace, "pass"))


def mutated(folder, *changes):
    (folder / "m.py").write_text(SOURCE)
    return Mutation("id", [Change(*change) for change in changes], "cost", []).mutated(folder)


def test_changes_of_one_file_are_applied_together(tmp_path):
    (text,) = mutated(tmp_path, ("m:doubled", "n + n", "n"), ("m:value", "1", "2")).values()

    assert text == SOURCE.replace("n + n", "n").removesuffix("1\n") + "2\n"


@pytest.mark.parametrize(
    ("target", "replacement", "message"),
    [
        ("m:doubled", "return return", "does not compile"),
        ("m:doubled", "return (n + n)", "the same program"),
        ("other:doubled", "return n", "module other was not found"),
    ],
)
def test_an_unusable_mutation_is_rejected(tmp_path, target, replacement, message):
    with pytest.raises(MutationError, match=message):
        mutated(tmp_path, (target, "return n + n", replacement))


@pytest.mark.parametrize("missing", ["id", "with", "caught_by"])
def test_an_incomplete_entry_is_rejected(missing):
    entry = {
        "id": "a",
        "target": "m:f",
        "replace": "1",
        "with": "2",
        "cost": "It costs.",
        "caught_by": ["tests/test_m.py::test_f"],
    }

    assert catalog.mutation_of(entry).changes == [Change("m:f", "1", "2")]
    with pytest.raises(MutationError, match=missing):
        catalog.mutation_of({key: value for key, value in entry.items() if key != missing})
