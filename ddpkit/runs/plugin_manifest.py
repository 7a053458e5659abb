"""The plugins that a run uses: as they are now, as the run recorded them, and what is missing."""

from collections.abc import Mapping, Sequence

from ddpkit.config.component_refs import find, references
from ddpkit.config.loading import Config
from ddpkit.errors import PluginError, Problem
from ddpkit.plugins.local_files import LOCAL
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import log


def components_of(config: Config, plugins: Plugins) -> list[dict[str, str]]:
    """Whose the components are that the config names."""
    entries = [find(reference, plugins.registry) for reference in references(config.run)]
    return [{"kind": entry.kind, "name": entry.qualified_name, "plugin": entry.plugin} for entry in entries]


def plugins_of(config: Config, plugins: Plugins) -> list[dict[str, str]]:
    """Name, version and digest of the plugins whose components the config names, or whose run hooks are called."""
    used = {component["plugin"] for component in components_of(config, plugins)}
    records = [plugin for plugin in plugins.plugins if plugin.name in used or plugin.hooks]
    return [{"name": each.name, "version": each.version, "digest": each.digest} for each in records]


def refuse_missing(used: Sequence[Mapping[str, str]], found: Plugins) -> None:
    """Raise PluginError when a plugin that the run used is not to be had any more; one of another version is said."""
    now = {plugin.name: plugin for plugin in found.plugins}
    missing = [each for each in used if each["name"] not in now]
    if missing:
        problems = [
            Problem("plugins", (), f"the run used {each['name']} {each['version']}, which is not to be had; {remedy(each)}")
            for each in missing
        ]
        raise PluginError(problems)
    for each in used:
        plugin = now[each["name"]]
        if plugin.version != each["version"]:
            log.warn([f"plugin {plugin.name} {plugin.version} is not what the run began with, {each['version']}"])
        elif plugin.digest != each["digest"]:
            log.warn([f"plugin {plugin.name} {plugin.version} has other code than when the run began"])


def remedy(plugin: Mapping[str, str]) -> str:
    """How a plugin is had again, as far as its record tells."""
    if plugin["version"] == LOCAL:
        return f"bring back {plugin['distribution']}" if "distribution" in plugin else "name its file in 'plugins.files'"
    return f"pip install {plugin['distribution']}=={plugin['version']}" if "distribution" in plugin else "install it again"
