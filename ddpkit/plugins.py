"""Entry points of the group `ddpkit` -> a registry, each plugin by itself: a broken one stops no run that can do without it.

pluggy's own loader ends at the first plugin that raises, so this one goes over the entry points itself, in sorted order.
"""

import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import attrs
import pluggy

from ddpkit import hookspecs
from ddpkit.hookspecs import HOOKS, Component
from ddpkit.registry import BUILTIN, Entry, Registry
from ddpkit.structure import suggest

GROUP = "ddpkit"

Status = Literal["ok", "broken", "invalid", "collision"]


@attrs.frozen
class Source:
    """An entry point and the distribution that has it."""

    entry_point: importlib.metadata.EntryPoint
    distribution: str
    version: str


@attrs.frozen
class Plugin:
    """What became of one entry point."""

    name: str
    distribution: str
    version: str
    status: Status
    error: str = ""
    provides: tuple[Entry, ...] = ()
    digest: str = ""
    """sha256 over the plugin's module, to tell one version's files from another's."""


@attrs.frozen
class Plugins:
    """All plugins that are installed, and the components of those that loaded."""

    plugins: tuple[Plugin, ...]
    registry: Registry

    @property
    def failed(self) -> list[Plugin]:
        """Those that cannot be used."""
        return [plugin for plugin in self.plugins if plugin.status != "ok"]

    def manifest(self) -> list[dict[str, Any]]:
        """Plugin, version and digest, as a run records them."""
        keys = ("name", "distribution", "version", "status", "digest")
        return [{key: getattr(plugin, key) for key in keys} for plugin in self.plugins]


def load() -> Plugins:
    """Every installed plugin; never raises for a plugin's sake."""
    return register(installed())


def installed() -> list[Source]:
    """The entry points of all distributions, sorted: the order of installation means nothing."""
    sources = [
        Source(entry_point, distribution.metadata["Name"] or "?", distribution.version or "?")
        for distribution in importlib.metadata.distributions()
        for entry_point in distribution.entry_points
        if entry_point.group == GROUP
    ]
    unique = {(each.entry_point.name, each.distribution): each for each in reversed(sources)}  # sys.path: the first wins
    return [unique[key] for key in sorted(unique)]


def register(sources: Iterable[Source]) -> Plugins:
    """Import and ask each of them."""
    sources = list(sources)
    owners = Counter(namespace for namespace, _ in {(namespace_of(each), each.distribution) for each in sources})
    manager = pluggy.PluginManager("ddpkit")
    manager.add_hookspecs(hookspecs)
    registry = Registry()
    plugins = []
    for source in sources:
        if namespace_of(source) == BUILTIN and source.distribution != GROUP:
            plugins.append(failed(source, "invalid", f"the name {BUILTIN!r} is ddpkit's own; the entry point needs another"))
        elif namespace_of(source) != BUILTIN and owners[namespace_of(source)] > 1:
            error = f"two distributions have plugins named {namespace_of(source)!r}; uninstall one"
            plugins.append(failed(source, "collision", error))
        else:
            plugins.append(register_one(source, manager, registry))
    return Plugins(tuple(plugins), registry)


def namespace_of(source: Source) -> str:
    """`acme` of `acme.models`."""
    return source.entry_point.name.partition(".")[0]


def failed(source: Source, status: Status, error: str) -> Plugin:
    """The record of a plugin that cannot be used."""
    return Plugin(source.entry_point.name, source.distribution, source.version, status, error)


def register_one(source: Source, manager: pluggy.PluginManager, registry: Registry) -> Plugin:
    """Import one plugin and take its components: all of them, or none."""
    try:
        module = source.entry_point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
        return failed(source, "broken", f"{type(error).__name__}: {error}")
    try:
        entries = declared(source, module, manager)
        registry.add(entries)
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        return failed(source, "invalid", f"{type(error).__name__}: {error}")
    return Plugin(
        source.entry_point.name, source.distribution, source.version, "ok", provides=tuple(entries), digest=digest(module)
    )


def declared(source: Source, module: ModuleType, manager: pluggy.PluginManager) -> list[Entry]:
    """What the module's hooks yield. Raises when a hook is misspelt, unmarked or yields anything but components."""
    name = source.entry_point.name
    check_hooks(module, manager)
    manager.register(module, name=name)
    entries = []
    for kind, hook in HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin_name == name:
                entries += [entry_of(kind, source, component) for component in implementation.function()]
    return entries


def check_hooks(module: ModuleType, manager: pluggy.PluginManager) -> None:
    """Pluggy passes over a hook without the marker or with a wrong name in silence; say so instead."""
    for name in vars(module):
        if name.startswith("ddpkit_") and callable(getattr(module, name)):
            if name not in HOOKS.values():
                raise ValueError(f"there is no hook {name!r}, {suggest(name, HOOKS.values())}")
            if manager.parse_hookimpl_opts(module, name) is None:
                raise ValueError(f"{name} lacks its @hookimpl")


def entry_of(kind: str, source: Source, component: object) -> Entry:
    """A component with its owner."""
    if not isinstance(component, Component):
        raise TypeError(f"{HOOKS[kind]} yields {component!r}, which is not a Component")
    return Entry(kind, source.entry_point.name, f"{source.distribution} {source.version}", component)


def digest(module: ModuleType) -> str:
    """sha256 of the module's file; empty when it has none."""
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
