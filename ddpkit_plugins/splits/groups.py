"""Which group a sample is of."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

Columns = Mapping[str, Sequence[str]]
"""Name of what samples may be grouped by -> a text a sample."""
FILE = "file"
"""The column of the names of files."""
SHOWN = 3
"""How many samples or groups a message names."""


def grouping(group: str | None, columns: Columns | None, own: Mapping[str, Columns | None] | None = None) -> list[str] | None:
    """The group of each sample, by a column or by a pattern over the names of files; None when none is asked for.

    Raises ValueError for what is neither, for a sample without a group, and where a group is in one of the dataset's `own`
    parts and anywhere else.
    """
    if not group:
        return None
    found = groups_by(group, columns)
    held = [set(found), *(set(groups_by(group, theirs)) for theirs in (own or {}).values())]
    if shared := sorted(name for name, count in Counter(chain(*held)).items() if count > 1):
        own_parts = f"the dataset's own ({', '.join(own or {})}) among them"
        raise ValueError(f"{len(shared)} groups are in more than one part, {own_parts}, as in {shared[:SHOWN]}")
    return found


def groups_by(group: str, columns: Columns | None) -> list[str]:
    """The group of each sample."""
    if columns is None:
        raise ValueError("group needs a dataset that tells files or columns of its samples (its attribute 'groups')")
    if group in columns:
        return of_column(group, columns[group])
    pattern = compiled(group, list(columns))
    if FILE not in columns:
        raise ValueError(f"group is one of the columns {list(columns)}, got {group!r}")
    return of_names(pattern, columns[FILE])


def compiled(group: str, columns: Sequence[str]) -> re.Pattern[str]:
    """A pattern that finds one group."""
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise ValueError(f"group is no pattern that can be read: {error}") from error
    if pattern.groups != 1:
        wanted = "a pattern with one group in parentheses, as in '(patient[0-9]+)_'"
        raise ValueError(f"group is a column ({', '.join(columns)}) or {wanted}; got {group!r}")
    return pattern


def of_column(name: str, values: Sequence[str]) -> list[str]:
    """The values of a column."""
    if empty := [number for number, value in enumerate(values) if not str(value).strip()]:
        raise ValueError(f"{len(empty)} samples have nothing in the column {name!r}, the first is number {empty[0]}")
    return list(values)


def of_names(pattern: re.Pattern[str], names: Sequence[str]) -> list[str]:
    """What the pattern finds in each name."""
    found = [pattern.search(name) for name in names]
    if missed := [name for name, each in zip(names, found, strict=True) if each is None or not each[1]]:
        raise ValueError(f"{pattern.pattern!r} finds no group in {len(missed)} of {len(names)} names, as in {missed[:SHOWN]}")
    return [each[1] for each in found if each]
