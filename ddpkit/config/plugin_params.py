"""Parameters of run hooks: the tables `[plugins.config.NAME]`, compared with the signatures of a plugin's hooks."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddpkit.config import schema
from ddpkit.config.converter import Issue, structure
from ddpkit.errors import KeyPath, closest, suggest
from ddpkit.plugins import hookspecs, signatures
from ddpkit.plugins.manager import Plugin, Plugins
from ddpkit.plugins.policy import normalise_name
from ddpkit.plugins.signatures import Signature

Tables = Mapping[str, Mapping[str, Any]]
"""`[plugins.config]`: name of a plugin -> its parameters."""


def hook_signature(hook: str, function: Callable[..., Any]) -> Signature:
    """Return the parameters of a run hook, without the values that every implementation of the hook gets."""
    found, values = signatures.inspect_callable(function), inspect.signature(getattr(hookspecs, hook)).parameters
    parameters, defaults = ({k: v for k, v in each.items() if k not in values} for each in (found.parameters, found.defaults))
    return Signature(parameters, defaults, found.takes_any)


def hook_params(plugin: Plugin, hook: str, tables: Tables) -> dict[str, Any]:
    """Return the parameters of one of a plugin's run hooks, as the TOML sets them."""
    signature, given = hook_signature(hook, plugin.hooks[hook]), find_params(plugin, tables)
    accepted = {name: value for name, value in given.items() if signature.takes_any or name in signature.parameters}
    return {name: structure(value, signature.parameters.get(name, Any))[0] for name, value in accepted.items()}


def find_params(plugin: Plugin, tables: Tables) -> dict[str, Any]:
    """Return the parameters in the tables whose name is one of the plugin's names."""
    return {key: value for name, table in tables.items() if is_name_of(name, plugin) for key, value in table.items()}


def is_name_of(name: str, plugin: Plugin) -> bool:
    return normalise_name(name) in map(normalise_name, plugin.names)


def plugin_param_issues(run: schema.Run, plugins: Plugins) -> Iterator[Issue]:
    """Check that each table belongs to an enabled plugin, and has the parameters that the run hooks of this plugin accept."""
    for name, table in run.plugins.config.items():
        path, named = ("plugins", "config", name), [each for each in plugins.plugins if is_name_of(name, each)]
        accepted = [hook_signature(hook, function) for each in named for hook, function in each.hooks.items()]
        if message := table_problem(name, named, accepted, plugins):
            failed = any(each.status != "ok" for each in named)
            yield Issue(path, message, at_key=True, caused_by_plugin=failed)
        else:
            yield from param_issues(name, table, accepted, path)
    for plugin in plugins.plugins:
        yield from missing_param_issues(plugin, run.plugins.config)


def table_problem(name: str, named: Sequence[Plugin], accepted: Sequence[Signature], plugins: Plugins) -> str:
    """Return why a plugin cannot have parameters; empty if it can."""
    if not named:
        return f"no plugin is called {name!r}, {suggest(name, [each.name for each in plugins.plugins if each.hooks])}"
    if failed := [each for each in named if each.status != "ok"]:
        return f"plugin {failed[0].name} has the status {failed[0].status!r}: {failed[0].error}"
    if not any(each.is_enabled for each in named):
        return f'plugin {name!r} is not enabled, so its run hooks are not called; add enable = ["{name}"] to [plugins]'
    if not any(each.parameters or each.takes_any for each in accepted):
        return f"the run hooks of plugin {name!r} have no parameters; remove this table"
    return ""


def param_issues(name: str, table: Mapping[str, Any], accepted: Sequence[Signature], path: KeyPath) -> Iterator[Issue]:
    """Yield an issue for each unknown key, and for each value that does not fit the annotation in one of the hooks."""
    known = {key for each in accepted for key in each.parameters}
    for key, value in table.items():
        if key not in known and not any(each.takes_any for each in accepted):
            message = f"plugin {name!r} has no such parameter, {suggest(key, known)}"
            yield Issue((*path, key), message, at_key=True, suggestion=closest(key, known))
        kinds = [each.parameters[key] for each in accepted if key in each.parameters]
        found = (structure(value, kind, (*path, key))[1] for kind in kinds)
        yield from next(filter(None, found), [])


def failed_plugin_warnings(run: schema.Run, plugins: Plugins) -> Iterator[Issue]:
    """Warn about plugins whose run hooks the config asks for, but that could not be loaded."""
    asked: dict[KeyPath, str] = {("plugins", "enable", number): name for number, name in enumerate(run.plugins.enable)}
    asked |= {("plugins", "files", number): Path(file).stem for number, file in enumerate(run.plugins.files)}
    for path, name in asked.items():
        for each in plugins.failed:
            if each.status != "blocked" and is_name_of(name, each):
                yield Issue(path, f"plugin {each.name} has the status {each.status!r} and is not used: {each.error}")


def missing_param_issues(plugin: Plugin, tables: Tables) -> Iterator[Issue]:
    """Yield an issue for each parameter without a default that the TOML does not set."""
    given = find_params(plugin, tables)
    required = {name for hook, function in plugin.hooks.items() for name in hook_signature(hook, function).required}
    table = next((name for name in tables if is_name_of(name, plugin)), "")
    for name in sorted(required - given.keys() - {closest(key, required) for key in given}):
        path: KeyPath = ("plugins", "config", table) if table else ("plugins",)
        where = "" if table else f"; set it in the table [plugins.config.{plugin.name}]"
        yield Issue(path, f"plugin {plugin.name!r} requires the key {name!r}{where}", at_key=True)
