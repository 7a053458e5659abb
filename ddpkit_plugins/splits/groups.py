"""Groups of samples, such as the images of one patient, which a split keeps together."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

Columns = Mapping[str, Sequence[str]]
"""Name of a grouping -> one text per sample."""
FILE = "file"
"""Name of the column with the file names."""
SHOWN = 3
"""Maximum number of samples or groups in a message."""


def read_grouping(
    group: str | None, columns: Columns | None, own: Mapping[str, Columns | None] | None = None
) -> list[str] | None:
    """Return the group of each sample, from a column or from a pattern over the file names; None if `group` is empty.

    Raises ValueError if `group` is neither a column nor a valid pattern, if a sample has no group, or if a group of one of the
    dataset's `own` splits occurs in any other split.
    """
    if not group:
        return None
    found = groups_by(group, columns)
    groups_of_splits = [set(found), *(set(groups_by(group, theirs)) for theirs in (own or {}).values())]
    if shared := sorted(name for name, count in Counter(chain(*groups_of_splits)).items() if count > 1):
        own_splits = f"including the dataset's own splits ({', '.join(own or {})})"
        raise ValueError(f"{len(shared)} groups are in more than one split, {own_splits}, such as {shared[:SHOWN]}")
    return found


def groups_by(group: str, columns: Columns | None) -> list[str]:
    if columns is None:
        raise ValueError(
            "group requires a dataset with file names or columns of its samples (attribute 'groups'); remove 'group'"
        )
    if group in columns:
        return group_by_column(group, columns[group])
    pattern = compile_pattern(group, list(columns))
    if FILE not in columns:
        raise ValueError(f"group must be one of the columns {list(columns)}; got {group!r}")
    return group_by_pattern(pattern, columns[FILE])


def compile_pattern(group: str, columns: Sequence[str]) -> re.Pattern[str]:
    """Compile a pattern with exactly one group. Raises ValueError for others."""
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise ValueError(f"group is not a valid regular expression: {error}") from error
    if pattern.groups != 1:
        wanted = "a pattern with one group in parentheses, such as '(patient[0-9]+)_'"
        raise ValueError(f"group must be a column ({', '.join(columns)}) or {wanted}; got {group!r}")
    return pattern


def group_by_column(name: str, values: Sequence[str]) -> list[str]:
    """Return the values of a column. Raises ValueError for empty ones."""
    if empty := [number for number, value in enumerate(values) if not str(value).strip()]:
        raise ValueError(f"{len(empty)} samples have no value in the column {name!r}; the first one has index {empty[0]}")
    return list(values)


def group_by_pattern(pattern: re.Pattern[str], names: Sequence[str]) -> list[str]:
    """Return the text that the pattern finds in each name. Raises ValueError if it finds none."""
    found = [pattern.search(name) for name in names]
    if missed := [name for name, each in zip(names, found, strict=True) if each is None or not each[1]]:
        raise ValueError(f"{pattern.pattern!r} finds no group in {len(missed)} of {len(names)} names, such as {missed[:SHOWN]}")
    return [each[1] for each in found if each]
