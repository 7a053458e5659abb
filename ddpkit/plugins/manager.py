"""Entry points of the group `ddpkit` -> a registry, each plugin by itself: a broken one stops no run that can do without it.

pluggy's own loader ends at the first plugin that raises, so this one goes over the entry points itself, in sorted order.
"""

import hashlib
import importlib.metadata
import importlib.util
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import attr
import attrs
import pluggy

from ddpkit.errors import suggest
from ddpkit.plugins import hookspecs, local_files
from ddpkit.plugins.hookspecs import API_VERSION, FAMILY_HOOKS, HOOKS, RUN_HOOKS, Component
from ddpkit.plugins.policy import Policy, names_of
from ddpkit.plugins.registry import BUILTIN, Entry, Family, Registry

GROUP = "ddpkit"
HEAVY = ("torch", "torchvision", "torchmetrics", "numpy", "PIL", "pandas", "scipy", "tensorflow")
"""Libraries that a plugin should not import before a run uses it."""

Status = Literal["ok", "blocked", "broken", "invalid", "incompatible", "collision"]


class IncompatibleError(Exception):
    """A plugin is written for another version of the hooks."""


@attrs.frozen
class Source:
    """An entry point and the distribution that has it."""

    entry_point: importlib.metadata.EntryPoint
    distribution: str
    version: str
    is_local: bool = False
    """A file that the TOML names."""

    @property
    def name(self) -> str:
        """Of the plugin."""
        return self.entry_point.name

    @property
    def namespace(self) -> str:
        """`acme` of `acme.models`."""
        return self.name.partition(".")[0]

    @property
    def names(self) -> set[str]:
        """By what a policy may call it."""
        return names_of(self.name, self.distribution)


@attrs.frozen
class Plugin:
    """What became of one entry point."""

    name: str
    distribution: str
    version: str
    status: Status
    error: str = ""
    provides: tuple[Entry, ...] = ()
    hooks: Mapping[str, Callable[..., Any]] = attrs.field(factory=dict, eq=False, repr=False)
    """Its run hooks, where the policy enables it."""
    digest: str = ""
    """sha256 over the plugin's package, to tell one version's files from another's."""
    seconds: float = 0.0
    """It took to load."""
    heavy: tuple[str, ...] = ()
    """Heavy libraries that loading it imported."""


@attrs.frozen
class Plugins:
    """All plugins that are installed, and the components of those that loaded."""

    plugins: tuple[Plugin, ...]
    registry: Registry
    warnings: tuple[str, ...] = ()
    """Names in the policy that nothing has."""

    @property
    def failed(self) -> list[Plugin]:
        """Those that cannot be used."""
        return [plugin for plugin in self.plugins if plugin.status != "ok"]

    def hooks(self, name: str) -> list[Callable[..., Any]]:
        """A run hook of every enabled plugin, in order of their names."""
        return [plugin.hooks[name] for plugin in self.plugins if name in plugin.hooks]

    def manifest(self) -> list[dict[str, Any]]:
        """Plugin, version and digest, as a run records them."""
        keys = ("name", "distribution", "version", "status", "digest")
        return [{key: getattr(plugin, key) for key in keys} for plugin in self.plugins]


def load(policy: Policy = Policy()) -> Plugins:  # noqa: B008 - it is frozen
    """Every installed plugin and every file that the policy allows; never raises for a plugin's sake."""
    local = [Source(*local_files.entry_point(file), is_local=True) for file in policy.files]
    return register([*installed(), *local], policy)


def installed() -> list[Source]:
    """The entry points of all distributions, sorted: the order of installation means nothing."""
    sources = [
        Source(entry_point, distribution.metadata["Name"] or "?", distribution.version or "?")
        for distribution in importlib.metadata.distributions()
        for entry_point in distribution.entry_points
        if entry_point.group == GROUP
    ]
    unique = {(each.name, each.distribution): each for each in reversed(sources)}  # sys.path: the first wins
    return [unique[key] for key in sorted(unique)]


def register(sources: Iterable[Source], policy: Policy = Policy()) -> Plugins:  # noqa: B008 - it is frozen
    """Import and ask each of them, except those that the policy blocks."""
    sources = list(sources)
    owners = Counter(namespace for namespace, _ in {(each.namespace, each.distribution) for each in sources})
    manager = pluggy.PluginManager("ddpkit")
    manager.add_hookspecs(hookspecs)
    registry = Registry(policy.prefer)
    plugins = []
    for source in sources:
        is_builtin = source.distribution == GROUP
        if source.namespace == BUILTIN and not is_builtin:
            plugins.append(failed(source, "invalid", f"the name {BUILTIN!r} is ddpkit's own; the entry point needs another"))
        elif reason := policy.reason_to_block(source.names, is_builtin=is_builtin or source.is_local):
            plugins.append(failed(source, "blocked", reason))
        elif owners[source.namespace] > 1 and not is_builtin:
            error = f"two distributions have plugins named {source.namespace!r}; uninstall one"
            plugins.append(failed(source, "collision", error))
        else:
            plugins.append(register_one(source, manager, registry, policy))
    names = {name for source in sources for name in source.names}
    return Plugins(tuple(plugins), registry, tuple(policy.unmatched(names)))


def failed(source: Source, status: Status, error: str) -> Plugin:
    """The record of a plugin that cannot be used."""
    return Plugin(source.name, source.distribution, source.version, status, error)


def register_one(source: Source, manager: pluggy.PluginManager, registry: Registry, policy: Policy) -> Plugin:
    """Import one plugin and take its components: all of them, or none."""
    started, before = time.perf_counter(), set(sys.modules)
    try:
        module = source.entry_point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
        return failed(source, "broken", said(error))
    try:
        refuse_newer(getattr(module, "ddpkit_api", "1.0"))
        check_hooks(module, manager)
        entries = declared(source, module, manager)
        registry.add(entries, source.namespace, family_of(source, module))
    except IncompatibleError as error:
        return failed(source, "incompatible", str(error))
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        if manager.has_plugin(source.name):
            manager.unregister(name=source.name)
        return failed(source, "invalid", said(error))
    enabled = policy.enables(source.names)
    return Plugin(
        source.name, source.distribution, source.version, "ok",
        provides=tuple(entries),
        hooks={name: getattr(module, name) for name in RUN_HOOKS if enabled and hasattr(module, name)},
        digest=digest(module),
        seconds=time.perf_counter() - started,
        heavy=tuple(name for name in HEAVY if name in sys.modules and name not in before),
    )  # fmt: skip


def said(error: BaseException) -> str:
    """What a plugin raised, and where in its own files."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}"


def is_own(file: str) -> bool:
    """Whether a file is a plugin's, not ddpkit's or Python's."""
    others = (__file__, importlib.__file__, attrs.__file__, attr.__file__, pluggy.__file__)
    return not file.startswith(("<", *(str(Path(other).parent) for other in others)))


def refuse_newer(version: object) -> None:
    """Raise IncompatibleError for a plugin that is written for hooks that this version does not have."""
    try:
        major, minor = map(int, str(version).split("."))
    except ValueError:
        raise IncompatibleError(f"ddpkit_api is like '1.0', not {version!r}") from None
    if major != API_VERSION[0] or minor > API_VERSION[1]:
        mine = ".".join(map(str, API_VERSION))
        raise IncompatibleError(f"written for version {version} of the hooks, this ddpkit has {mine}; upgrade the older one")


def check_hooks(module: ModuleType, manager: pluggy.PluginManager) -> None:
    """Pluggy passes over a hook without the marker or with a wrong name in silence; say so instead."""
    known = (*HOOKS.values(), *FAMILY_HOOKS, *RUN_HOOKS)
    for name, value in vars(module).items():
        marks = manager.parse_hookimpl_opts(module, name) if callable(value) else None
        is_meant = marks is not None or (name.startswith("ddpkit_") and callable(value))
        if is_meant and name not in known and not (marks and marks["optionalhook"]):
            raise ValueError(f"there is no hook {name!r}, {suggest(name, known)}")
        if is_meant and marks is None:
            raise ValueError(f"{name} lacks its @hookimpl")


def declared(source: Source, module: ModuleType, manager: pluggy.PluginManager) -> list[Entry]:
    """What the module's hooks yield. Raises for anything but components."""
    manager.register(module, name=source.name)
    entries = []
    for kind, hook in HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin_name == source.name:
                entries += [entry_of(kind, source, component) for component in implementation.function()]
    return entries


def entry_of(kind: str, source: Source, component: object) -> Entry:
    """A component with its owner."""
    if not isinstance(component, Component):
        raise TypeError(f"{HOOKS.get(kind, kind)} yields {component!r}, which is not a Component")
    return Entry(kind, source.name, f"{source.distribution} {source.version}", component)


def family_of(source: Source, module: ModuleType) -> Family | None:
    """The module as the owner of an open namespace, if it has both hooks. Raises ValueError for one alone."""
    has = [name for name in FAMILY_HOOKS if hasattr(module, name)]
    if len(has) == 1:
        raise ValueError(f"{has[0]} needs {set(FAMILY_HOOKS).difference(has).pop()} beside it")

    def find(kind: str, name: str) -> Entry | None:
        component = module.ddpkit_find(kind=kind, name=name)
        return None if component is None else entry_of(kind, source, component)

    return Family(find, lambda kind, pattern: module.ddpkit_names(kind=kind, pattern=pattern)) if has else None


def digest(module: ModuleType) -> str:
    """sha256 over the Python files of the module's own package, or of the module; empty when it has no file."""
    file = getattr(module, "__file__", None)
    if not file:
        return ""
    package = Path(file).parent if module.__name__.partition(".")[2] or Path(file).name == "__init__.py" else None
    files = sorted(package.rglob("*.py")) if package else [Path(file)]
    found = hashlib.sha256()
    for each in files:
        found.update(f"{each.relative_to(package or each.parent)}\0".encode() + each.read_bytes())
    return found.hexdigest()
