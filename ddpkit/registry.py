"""The names that a TOML may use, and what stands behind each."""

from collections import Counter
from collections.abc import Iterable, Iterator

import attrs

from ddpkit.hookspecs import HOOKS, Component
from ddpkit.structure import suggest

BUILTIN = "builtin"


class UnknownNameError(LookupError):
    """No component, or more than one, has this name; the text says which there are."""


@attrs.frozen
class Entry:
    """A component and whose it is."""

    kind: str
    plugin: str
    """The entry point's name, `acme.models`."""
    distribution: str
    component: Component

    @property
    def namespace(self) -> str:
        """`acme` of the plugin `acme.models`."""
        return self.plugin.partition(".")[0]

    @property
    def qualified_name(self) -> str:
        """`acme/tinynet`."""
        return f"{self.namespace}/{self.component.name}"


class Registry:
    """Every component of every plugin that loaded."""

    def __init__(self) -> None:
        self._entries: dict[str, list[Entry]] = {kind: [] for kind in HOOKS}

    def __iter__(self) -> Iterator[Entry]:
        for entries in self._entries.values():
            yield from entries

    def add(self, entries: Iterable[Entry]) -> None:
        """Make components known: all, or none and ValueError when a namespace would have one name twice."""
        added = list(entries)
        names = Counter((entry.kind, entry.qualified_name) for entry in [*self, *added])
        for entry in added:
            if names[entry.kind, entry.qualified_name] > 1:
                raise ValueError(f"{entry.kind} {entry.qualified_name!r} is declared twice")
        for entry in added:
            self._entries[entry.kind].append(entry)

    def get(self, kind: str, name: str) -> Entry:
        """The component that `name` means: qualified, else built-in, else the only one of all plugins.

        Order of installation decides nothing. Raises UnknownNameError.
        """
        entries = self._entries[kind]
        if "/" in name:
            found = [entry for entry in entries if entry.qualified_name == name]
        else:
            found = [entry for entry in entries if entry.component.name == name]
            found = [entry for entry in found if entry.namespace == BUILTIN] or found
        if len(found) > 1:
            candidates = ", ".join(f"{entry.qualified_name!r} ({entry.distribution})" for entry in found)
            raise UnknownNameError(f"more than one plugin has a {kind} {name!r}; write one of {candidates}")
        if not found:
            raise UnknownNameError(f"no {kind} is called {name!r}, {suggest(name, self.names(kind))}")
        return found[0]

    def names(self, kind: str) -> set[str]:
        """What may be written for this kind: bare names, and qualified ones of third parties."""
        entries = self._entries[kind]
        foreign = {entry.qualified_name for entry in entries if entry.namespace != BUILTIN}
        return foreign | {entry.component.name for entry in entries}
