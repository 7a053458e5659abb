"""Registry of the names that a TOML may use, and of the components behind them."""

import fnmatch
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from ddpkit.errors import suggest
from ddpkit.plugins.component import Component
from ddpkit.plugins.hookspecs import HOOKS

BUILTIN = "builtin"


class UnknownNameError(LookupError):
    """Error for a name that refers to no component or to several; the message lists possible names."""


@attrs.frozen
class Entry:
    """Component and the plugin that owns it."""

    kind: str
    plugin: str
    """Name of the plugin's entry point, as in `acme.models`."""
    distribution: str
    component: Component

    @property
    def namespace(self) -> str:
        """First part of the plugin's name: `acme` of `acme.models`."""
        return self.plugin.partition(".")[0]

    @property
    def qualified_name(self) -> str:
        """Name with its namespace, as in `acme/tinynet`."""
        return f"{self.namespace}/{self.component.name}"

    @property
    def bare_names(self) -> tuple[str, ...]:
        """Name and aliases without the namespace."""
        return (self.component.name, *self.component.aliases)


@attrs.frozen
class Family:
    """Namespace with too many components to declare."""

    find: Callable[[str, str], Entry | None]
    """Kind and bare name -> entry, or None if there is none."""
    names: Callable[[str, str], Iterable[str]]
    """Kind and pattern -> bare names that match."""

    def entries(self, kind: str) -> list[Entry]:
        """Return the components of a kind that the family lists, sorted by name."""
        found = (self.find(kind, name) for name in sorted(self.names(kind, "*")))
        return [entry for entry in found if entry]


class Registry:
    """Components of all loaded plugins, found by kind and name."""

    def __init__(self, prefer: Mapping[str, str] | None = None) -> None:
        """Create an empty registry. `prefer`: `name` or `kind.name` -> namespace that this bare name refers to."""
        self._entries: dict[str, list[Entry]] = {kind: [] for kind in HOOKS}
        self._families: dict[str, Family] = {}
        self._prefer = dict(prefer or {})

    def __iter__(self) -> Iterator[Entry]:
        for entries in self._entries.values():
            yield from entries

    def add(self, entries: Iterable[Entry], namespace: str = "", family: Family | None = None) -> None:
        """Register components: all of them, or none.

        Raises ValueError if a namespace would have a name twice, or a second family.
        """
        added = list(entries)
        names = Counter((entry.kind, entry.namespace, name) for entry in [*self, *added] for name in entry.bare_names)
        for entry in added:
            for name in entry.bare_names:
                if names[entry.kind, entry.namespace, name] > 1:
                    raise ValueError(f"{entry.kind} {entry.namespace}/{name} is declared twice; remove one")
        if family and namespace in self._families:
            raise ValueError(f"another plugin already implements ddpkit_find for the namespace {namespace!r}")
        for entry in added:
            self._entries[entry.kind].append(entry)
        if family:
            self._families[namespace] = family

    def get(self, kind: str, name: str) -> Entry:
        """Return the component that `name` refers to; the order of installation has no effect.

        A qualified name refers to one component. A bare name refers to the preferred component, else to the built-in one, else to
        the only one of all plugins. Raises UnknownNameError if the name refers to none or to several.
        """
        found = self.qualified(kind, name) if "/" in name else self.resolve_bare_name(kind, name)
        if len(found) > 1:
            candidates = ", ".join(sorted(f"{entry.qualified_name!r} ({entry.distribution})" for entry in found))
            raise UnknownNameError(f"more than one plugin has the {kind} {name!r}; use one of {candidates}")
        if not found:
            raise UnknownNameError(f"no {kind} is called {name!r}, {suggest(name, self.names_near(kind, name))}")
        return found[0]

    def names_near(self, kind: str, name: str) -> set[str]:
        """Return the names to suggest for an unknown name: those of its family if its namespace has one, else all of the kind."""
        namespace, slash, _ = name.partition("/")
        family = self._families.get(namespace) if slash else None
        return {f"{namespace}/{bare}" for bare in family.names(kind, "*")} if family else self.names(kind)

    def resolve_bare_name(self, kind: str, name: str) -> list[Entry]:
        """Return the entry that a bare name refers to, as a list: empty if there is none, several entries if it is ambiguous."""
        found = self.candidates(kind, name)
        preferred = self._prefer.get(f"{kind}.{name}") or self._prefer.get(name)
        for namespace in (preferred, BUILTIN):
            if chosen := [entry for entry in found if entry.namespace == namespace]:
                return chosen
        return found

    def candidates(self, kind: str, name: str) -> list[Entry]:
        """Return all entries with a bare name, including those that another one shadows."""
        return [entry for entry in self._entries[kind] if name in entry.bare_names]

    def qualified(self, kind: str, name: str) -> list[Entry]:
        """Return a list with the entry of a qualified name, declared or found by the family of its namespace; [] if none."""
        namespace, _, bare = name.partition("/")
        declared = [entry for entry in self.candidates(kind, bare) if entry.namespace == namespace]
        family = self._families.get(namespace)
        found = family.find(kind, bare) if family and not declared else None
        return [found] if found else declared

    def names(self, kind: str) -> set[str]:
        """Return the names that a config may use for a kind: bare ones, and qualified ones of third-party plugins."""
        entries = self._entries[kind]
        foreign = {entry.qualified_name for entry in entries if entry.namespace != BUILTIN}
        return foreign | {name for entry in entries for name in entry.bare_names}

    def matching(self, kind: str, pattern: str) -> list[str]:
        """Return the qualified names of a kind that match a pattern, bare or qualified, sorted; families included."""
        declared = {entry.qualified_name for entry in self._entries[kind]}
        namespace, slash, bare = pattern.rpartition("/")
        families = {name: each for name, each in self._families.items() if not slash or fnmatch.fnmatch(name, namespace)}
        declared |= {f"{name}/{found}" for name, family in families.items() for found in family.names(kind, bare)}
        return sorted(name for name in declared if fnmatch.fnmatch(name if slash else name.partition("/")[2], pattern))

    def family_entries(self, kind: str) -> list[Entry]:
        """Return the components of a kind that families list. A config can use them only by their qualified names."""
        return [entry for _, family in sorted(self._families.items()) for entry in family.entries(kind)]

    def is_shadowed(self, entry: Entry) -> bool:
        """Return whether the bare name of an entry refers to another component."""
        return self.resolve_bare_name(entry.kind, entry.component.name) not in ([], [entry])
