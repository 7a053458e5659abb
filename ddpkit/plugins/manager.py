"""Loading of plugins from the entry points of the group `ddpkit` into a registry. A broken plugin stops only runs that need it.

pluggy's own loader stops at the first plugin that raises. This module therefore loads the entry points itself, in sorted order.
"""

import contextlib
import functools
import importlib.metadata
import importlib.util
import inspect
import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import attr
import attrs
import pluggy

from ddpkit.errors import ComponentName, named_errors, suggest
from ddpkit.plugins import hookspecs, local_files
from ddpkit.plugins.component import Component, check_kind
from ddpkit.plugins.digest import digest_folder, digest_module, digest_packages
from ddpkit.plugins.hookspecs import API_VERSION, FAMILY_HOOKS, HOOKS, RUN_HOOKS
from ddpkit.plugins.policy import Policy, policy_names
from ddpkit.plugins.registry import BUILTIN, Entry, Family, Registry
from ddpkit.plugins.trace import traced

LOGGER = logging.getLogger(__name__)
GROUP = "ddpkit"
HEAVY = ("torch", "torchvision", "torchmetrics", "numpy", "PIL", "pandas", "scipy", "tensorflow")
"""Libraries that importing a plugin should not import; only a run that uses one of its components should."""

Status = Literal["ok", "blocked", "broken", "invalid", "incompatible", "collision"]


class IncompatibleError(Exception):
    """Error for a plugin that is written for another version of the hooks."""


@attrs.frozen
class PluginSource:
    """Entry point of a plugin, and the distribution that contains it."""

    entry_point: importlib.metadata.EntryPoint
    distribution: str
    version: str
    is_local: bool = False
    """Whether the plugin is a file from `[plugins] files`."""

    @property
    def name(self) -> str:
        """Name of the plugin, which is the name of its entry point."""
        return self.entry_point.name

    @property
    def namespace(self) -> str:
        """First part of the name: `acme` of `acme.models`."""
        return self.name.partition(".")[0]

    @property
    def names(self) -> set[str]:
        """Names that a policy may use for the plugin."""
        return policy_names(self.name, self.distribution)


@attrs.frozen
class Plugin:
    """Result of loading one entry point."""

    name: str
    distribution: str
    version: str
    status: Status
    error: str = ""
    traceback: str = attrs.field(default="", eq=False, repr=False)
    """Traceback of the exception that made the plugin broken or invalid, without the frames of ddpkit; else empty."""
    provides: tuple[Entry, ...] = ()
    """Components that the plugin declares."""
    family: Family | None = attrs.field(default=None, eq=False, repr=False)
    """Components that the plugin finds by name."""
    hooks: Mapping[str, Callable[..., Any]] = attrs.field(factory=dict, eq=False, repr=False)
    """Run hooks by name; empty unless the plugin is enabled."""
    is_enabled: bool = False
    """Whether its run hooks are called: the policy enables the plugin, or it is a local file."""
    digest: str = ""
    """SHA-256 over the files of the plugin's package, to detect different files of the same version."""
    seconds: float = 0.0
    """Time of the import and of the hooks in seconds; 0 for a plugin that is not imported."""
    heavy: tuple[str, ...] = ()
    """Heavy libraries that were imported by loading the plugin."""

    @property
    def names(self) -> set[str]:
        """Names that a config may use for the plugin."""
        return policy_names(self.name, self.distribution)


@attrs.frozen
class Plugins:
    """All installed plugins, and the components of those that could be loaded."""

    plugins: tuple[Plugin, ...]
    registry: Registry
    warnings: tuple[str, ...] = ()
    """Messages about names in the policy that match no installed plugin."""

    @property
    def failed(self) -> list[Plugin]:
        """Plugins that cannot be used."""
        return [plugin for plugin in self.plugins if plugin.status != "ok"]

    def with_hook(self, name: str) -> list[Plugin]:
        """Return the enabled plugins that have a run hook: installed plugins sorted by name, then local files."""
        return [plugin for plugin in self.plugins if name in plugin.hooks]

    def manifest(self) -> list[dict[str, Any]]:
        """Return name, distribution, version, status and digest of each plugin, as a run records them."""
        keys = ("name", "distribution", "version", "status", "digest")
        return [{key: getattr(plugin, key) for key in keys} for plugin in self.plugins]


def load(policy: Policy = Policy()) -> Plugins:  # noqa: B008 - it is frozen
    """Load every installed plugin and local file that the policy allows. An error of a plugin is recorded, not raised."""
    local = [PluginSource(*local_files.local_entry_point(file), is_local=True) for file in policy.files]
    return register([*list_installed(), *local], policy)


def list_installed() -> list[PluginSource]:
    """Return the entry points of all distributions, sorted by name, so that the order of installation has no effect."""
    sources = [
        PluginSource(entry_point, distribution.metadata["Name"] or "?", distribution.version or "?")
        for distribution in importlib.metadata.distributions()
        for entry_point in distribution.entry_points
        if entry_point.group == GROUP
    ]
    unique = {(each.name, each.distribution): each for each in reversed(sources)}  # the first on sys.path wins
    return [unique[key] for key in sorted(unique)]


def digest_core() -> str:
    """Return the digest of ddpkit with its own plugins, also of those that are blocked."""
    own = [each.entry_point.module for each in list_installed() if each.distribution == GROUP]
    return digest_packages({GROUP, *(module.partition(".")[0] for module in own)})


def register(sources: Iterable[PluginSource], policy: Policy = Policy()) -> Plugins:  # noqa: B008 - it is frozen
    """Import the plugins that the policy does not block, and register their components."""
    sources = list(sources)
    owners = Counter(namespace for namespace, _ in {(each.namespace, each.distribution) for each in sources})
    manager = pluggy.PluginManager("ddpkit")
    manager.add_hookspecs(hookspecs)
    registry = Registry(policy.prefer)
    digest = functools.partial(digest_module, digest_folder=functools.cache(digest_folder))
    plugins = []
    for source in sources:
        is_builtin = source.distribution == GROUP
        if source.namespace == BUILTIN and not is_builtin:
            plugins.append(
                failed_plugin(source, "invalid", f"the name {BUILTIN!r} is reserved for ddpkit; rename the entry point")
            )
        elif reason := policy.reason_to_block(source.names, is_builtin=is_builtin or source.is_local):
            plugins.append(failed_plugin(source, "blocked", reason))
        elif owners[source.namespace] > 1 and not is_builtin:
            error = f"two distributions have plugins with the namespace {source.namespace!r}; uninstall one of them"
            plugins.append(failed_plugin(source, "collision", error))
        else:
            plugin = register_one(source, manager, registry, policy)
            module = sys.modules.get(source.entry_point.module) if plugin.status == "ok" else None
            plugins.append(attrs.evolve(plugin, digest=digest(module)))
    names = {name for source in sources for name in source.names}
    return Plugins(tuple(plugins), registry, tuple(policy.unmatched(names)))


def failed_plugin(source: PluginSource, status: Status, error: str, traceback: str = "") -> Plugin:
    return Plugin(source.name, source.distribution, source.version, status, error, traceback)


def register_one(source: PluginSource, manager: pluggy.PluginManager, registry: Registry, policy: Policy) -> Plugin:
    """Import one plugin, register its components, and measure the time."""
    started, before = time.perf_counter(), set(sys.modules)
    plugin = import_plugin(source, manager, registry, policy)
    seconds, heavy = time.perf_counter() - started, tuple(name for name in HEAVY if name in sys.modules and name not in before)
    return attrs.evolve(plugin, seconds=seconds, heavy=heavy)


def import_plugin(source: PluginSource, manager: pluggy.PluginManager, registry: Registry, policy: Policy) -> Plugin:
    """Import one plugin and register its components: all of them, or none."""
    try:
        with traced(source.name, f"import {source.entry_point.module}"):
            module = source.entry_point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
        return failed_plugin(source, "broken", describe_exception(error), format_traceback(error))
    try:
        check_api_version(getattr(module, "ddpkit_api", "1.0"))
        check_hooks(module, manager)
        entries, family = collect_components(source, module, manager), find_family(source, module)
        registry.add(entries, source.namespace, family)
    except IncompatibleError as error:
        return failed_plugin(source, "incompatible", str(error))
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        if manager.has_plugin(source.name):
            manager.unregister(name=source.name)
        return failed_plugin(source, "invalid", describe_exception(error), format_traceback(error))
    enabled = source.is_local or policy.enables(source.names)
    return Plugin(
        source.name, source.distribution, source.version, "ok",
        provides=tuple(entries),
        family=family,
        hooks={name: named_hook(module, name, source) for name in RUN_HOOKS if enabled and hasattr(module, name)},
        is_enabled=enabled,
    )  # fmt: skip


def named_hook(module: ModuleType, name: str, source: PluginSource) -> Callable[..., Any]:
    """Return a run hook whose exceptions name the hook and its plugin."""
    hook: Callable[..., Any] = getattr(module, name)
    origin = ", ".join(
        part for part in (source.name, "" if source.is_local else describe_source(source), module.__file__) if part
    )

    @functools.wraps(hook)
    def call(*arguments: Any, **named: Any) -> Any:
        with named_errors(ComponentName(f"run hook {name!r} ({origin})")):
            return hook(*arguments, **named)

    return call


def describe_exception(error: BaseException) -> str:
    """Return type and message of an exception, and the line in the plugin's own files that raised it."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own_plugin(frame.filename)]
    where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}"


def format_traceback(error: BaseException) -> str:
    """Return the traceback of an exception, from the first frame in the plugin's own files; without frames if there is none."""
    frame = error.__traceback__
    while frame and not is_own_plugin(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


def is_own_plugin(file: str) -> bool:
    """Return whether a file belongs to a plugin, and not to `ddpkit.plugins`, importlib, attrs or pluggy."""
    others = (__file__, importlib.__file__, attrs.__file__, attr.__file__, pluggy.__file__)
    return not file.startswith(("<", *(str(Path(other).parent) for other in others)))


def check_api_version(version: object) -> None:
    """Raise IncompatibleError if a plugin is written for hooks that this version does not have."""
    try:
        major, minor = map(int, str(version).split("."))
    except ValueError:
        raise IncompatibleError(f"ddpkit_api must be a version such as '1.0'; got {version!r}") from None
    if major != API_VERSION[0] or minor > API_VERSION[1]:
        mine = ".".join(map(str, API_VERSION))
        raise IncompatibleError(
            f"requires version {version} of the hooks, but this ddpkit has version {mine}; upgrade the older of the two"
        )


def check_hooks(module: ModuleType, manager: pluggy.PluginManager) -> None:
    """Raise ValueError for a hook without `@hookimpl` or with a wrong name, because pluggy ignores both silently."""
    known = (*HOOKS.values(), *FAMILY_HOOKS, *RUN_HOOKS)
    for name, value in vars(module).items():
        marks = manager.parse_hookimpl_opts(module, name) if callable(value) else None
        is_meant = marks is not None or (name.startswith("ddpkit_") and callable(value))
        if is_meant and name not in known and not (marks and marks["optionalhook"]):
            raise ValueError(f"{name!r} is not a hook of ddpkit, {suggest(name, known)}")
        if is_meant and marks is None:
            raise ValueError(f"{name} has no decorator; add @hookimpl")
        if name in RUN_HOOKS:
            check_hook_arguments(name, value)


def check_hook_arguments(name: str, hook: Callable[..., Any]) -> None:
    """Raise ValueError if a run hook has a parameter of its own that pluggy would confuse with the arguments of the hook."""
    arguments = inspect.signature(getattr(hookspecs, name)).parameters
    for each in inspect.signature(hook).parameters.values():
        is_required = each.kind is each.POSITIONAL_OR_KEYWORD and each.default is each.empty
        if is_required and each.name not in arguments:
            remedy = f"write parameters after '*': {name}({', '.join(arguments)}, *, {each.name})"
            raise ValueError(f"{name} is not called with {each.name!r}; {remedy}")


def collect_components(source: PluginSource, module: ModuleType, manager: pluggy.PluginManager) -> list[Entry]:
    """Return the components that the module's hooks yield. Raises TypeError for any other object."""
    manager.register(module, name=source.name)
    entries = []
    for kind, hook in HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin_name == source.name:
                with traced(source.name, f"{hook}()"):
                    entries += [create_entry(kind, source, component) for component in implementation.function()]
    return entries


def create_entry(kind: str, source: PluginSource, component: object) -> Entry:
    """Return the registry entry of a component. Raises TypeError or ValueError if it is not a component of this kind."""
    if not isinstance(component, Component):
        raise TypeError(f"{HOOKS.get(kind, kind)} must yield Component records; got {component!r}")
    check_kind(kind, component)
    return Entry(kind, source.name, describe_source(source), component)


def describe_source(source: PluginSource) -> str:
    return f"{source.distribution} {source.version}"


def find_family(source: PluginSource, module: ModuleType) -> Family | None:
    """Return the family of a module that has both family hooks, else None. Raises ValueError if it has only one of them.

    If one of its hooks raises an exception, a warning is logged, and the family has no component of this name.
    """
    has = [name for name in FAMILY_HOOKS if hasattr(module, name)]
    if len(has) == 1:
        raise ValueError(f"{has[0]} requires {set(FAMILY_HOOKS).difference(has).pop()}; define both hooks")

    def find(kind: str, name: str) -> Entry | None:
        with warn_of_errors(source, f"{kind} {name!r}"):
            component = module.ddpkit_find(kind=kind, name=name)
            return None if component is None else create_entry(kind, source, component)
        return None

    def names(kind: str, pattern: str) -> list[str]:
        with warn_of_errors(source, f"names of the kind {kind!r}"):
            return list(module.ddpkit_names(kind=kind, pattern=pattern))
        return []

    return Family(find, names) if has else None


@contextlib.contextmanager
def warn_of_errors(source: PluginSource, what: str) -> Iterator[None]:
    """Log an exception of a family hook as a warning: other components must stay usable. The call is traced."""
    try:
        with traced(source.name, what):
            yield
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        LOGGER.warning(
            "plugin %s (%s) cannot provide the %s: %s", source.name, source.distribution, what, describe_exception(error)
        )
