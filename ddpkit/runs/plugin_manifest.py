"""Plugins that a run uses: as installed now, as recorded by the run, and the difference."""

from collections.abc import Mapping, Sequence

from ddpkit.config.component_refs import find_entry, references
from ddpkit.config.loading import Config
from ddpkit.distributed.rank_process import is_output_process
from ddpkit.errors import Diagnostic, PluginError
from ddpkit.plugins.local_files import LOCAL
from ddpkit.plugins.manager import Plugin, Plugins
from ddpkit.runs import log


def list_components(config: Config, plugins: Plugins) -> list[dict[str, str]]:
    """Return the kind, name and plugin of each component that the config names; of a postprocess, also what it `gives`."""
    entries = [find_entry(reference, plugins.registry) for reference in references(config.run)]
    return [
        {"kind": entry.kind, "name": entry.qualified_name, "plugin": entry.plugin}
        | ({"gives": entry.component.gives} if entry.component.gives else {})
        for entry in entries
    ]


def list_used_plugins(config: Config, plugins: Plugins) -> list[dict[str, str]]:
    """Return name, version and digest of the plugins whose components the config names, or whose run hooks are called."""
    used = {component["plugin"] for component in list_components(config, plugins)}
    records = [plugin for plugin in plugins.plugins if plugin.name in used or plugin.hooks]
    return [{"name": each.name, "version": each.version, "digest": each.digest} for each in records]


def check_plugins_present(used: Sequence[Mapping[str, str]], found: Plugins) -> None:
    """Raise PluginError if a plugin of the run is no longer installed; warn if its version or its code differs."""
    now = {plugin.name: plugin for plugin in found.plugins}
    missing = [each for each in used if each["name"] not in now]
    if missing:
        problems = [
            Diagnostic(
                "plugins",
                (),
                f"the run used plugin {each['name']} (version {each['version']}), which is not available; {install_hint(each)}",
            )
            for each in missing
        ]
        raise PluginError(problems)
    if is_output_process():
        log.print_warnings(dict.fromkeys(filter(None, (describe_difference(each, now[each["name"]]) for each in used))))


def describe_difference(recorded: Mapping[str, str], plugin: Plugin) -> str:
    """Return how a plugin differs from its record, or "". Parts of one plugin have the same message, which is printed once."""
    name = f"plugin {plugin.name.partition('.')[0]} {plugin.version}"
    if plugin.version != recorded["version"]:
        return f"{name} is installed, but the run started with version {recorded['version']}"
    return f"{name} has different code than at the start of the run" if plugin.digest != recorded["digest"] else ""


def install_hint(plugin: Mapping[str, str]) -> str:
    """Return how to install a recorded plugin."""
    if plugin["version"] == LOCAL:
        return f"restore the file {plugin['distribution']}" if "distribution" in plugin else "add its file to 'plugins.files'"
    return f"pip install {plugin['distribution']}=={plugin['version']}" if "distribution" in plugin else "install it again"
