"""The names that a TOML may use, and what stands behind each."""

import fnmatch
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from ddpkit.errors import suggest
from ddpkit.plugins.hookspecs import HOOKS, Component

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

    @property
    def bare_names(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.component.name, *self.component.aliases)


@attrs.frozen
class Family:
    """A namespace whose components are too many to declare."""

    find: Callable[[str, str], Entry | None]
    """Kind and bare name -> the entry."""
    names: Callable[[str, str], Iterable[str]]
    """Kind and pattern -> bare names."""


class Registry:
    """Every component of every plugin that loaded."""

    def __init__(self, prefer: Mapping[str, str] | None = None) -> None:
        """`prefer`: `name` or `kind.name` -> the namespace whose component a bare name means."""
        self._entries: dict[str, list[Entry]] = {kind: [] for kind in HOOKS}
        self._families: dict[str, Family] = {}
        self._prefer = dict(prefer or {})

    def __iter__(self) -> Iterator[Entry]:
        for entries in self._entries.values():
            yield from entries

    def add(self, entries: Iterable[Entry], namespace: str = "", family: Family | None = None) -> None:
        """Make components known: all, or none and ValueError when a namespace would have one name twice."""
        added = list(entries)
        names = Counter((entry.kind, entry.namespace, name) for entry in [*self, *added] for name in entry.bare_names)
        for entry in added:
            for name in entry.bare_names:
                if names[entry.kind, entry.namespace, name] > 1:
                    raise ValueError(f"{entry.kind} {entry.namespace}/{name} is declared twice")
        if family and namespace in self._families:
            raise ValueError(f"another plugin answers for the names in {namespace!r} already")
        for entry in added:
            self._entries[entry.kind].append(entry)
        if family:
            self._families[namespace] = family

    def get(self, kind: str, name: str) -> Entry:
        """The component that `name` means: qualified, else preferred, else built-in, else the only one of all plugins.

        Order of installation decides nothing. Raises UnknownNameError.
        """
        found = self.qualified(kind, name) if "/" in name else self.meant(kind, name)
        if len(found) > 1:
            candidates = ", ".join(sorted(f"{entry.qualified_name!r} ({entry.distribution})" for entry in found))
            raise UnknownNameError(f"more than one plugin has a {kind} {name!r}; write one of {candidates}")
        if not found:
            raise UnknownNameError(f"no {kind} is called {name!r}, {suggest(name, self.names_near(kind, name))}")
        return found[0]

    def names_near(self, kind: str, name: str) -> set[str]:
        """What may have been meant: the names of a family, where the name is one of its namespace."""
        namespace, slash, _ = name.partition("/")
        family = self._families.get(namespace) if slash else None
        return {f"{namespace}/{bare}" for bare in family.names(kind, "*")} if family else self.names(kind)

    def meant(self, kind: str, name: str) -> list[Entry]:
        """What a bare name means: one entry, none, or those between which nothing decides."""
        found = self.candidates(kind, name)
        preferred = self._prefer.get(f"{kind}.{name}") or self._prefer.get(name)
        for namespace in (preferred, BUILTIN):
            if chosen := [entry for entry in found if entry.namespace == namespace]:
                return chosen
        return found

    def candidates(self, kind: str, name: str) -> list[Entry]:
        """All that have a bare name, those that are shadowed too."""
        return [entry for entry in self._entries[kind] if name in entry.bare_names]

    def qualified(self, kind: str, name: str) -> list[Entry]:
        """The entry of a namespace, declared or found by its family."""
        namespace, _, bare = name.partition("/")
        declared = [entry for entry in self.candidates(kind, bare) if entry.namespace == namespace]
        family = self._families.get(namespace)
        found = family.find(kind, bare) if family and not declared else None
        return [found] if found else declared

    def names(self, kind: str) -> set[str]:
        """What may be written for this kind: bare names, and qualified ones of third parties."""
        entries = self._entries[kind]
        foreign = {entry.qualified_name for entry in entries if entry.namespace != BUILTIN}
        return foreign | {name for entry in entries for name in entry.bare_names}

    def matching(self, kind: str, pattern: str) -> list[str]:
        """The qualified names of a kind that match a pattern, bare or qualified; families are asked too."""
        declared = {entry.qualified_name for entry in self._entries[kind]}
        namespace, slash, bare = pattern.rpartition("/")
        families = {name: each for name, each in self._families.items() if not slash or fnmatch.fnmatch(name, namespace)}
        declared |= {f"{name}/{found}" for name, family in families.items() for found in family.names(kind, bare)}
        return sorted(name for name in declared if fnmatch.fnmatch(name if slash else name.partition("/")[2], pattern))

    def is_shadowed(self, entry: Entry) -> bool:
        """Whether its bare name means another component."""
        return self.meant(entry.kind, entry.component.name) not in ([], [entry])
