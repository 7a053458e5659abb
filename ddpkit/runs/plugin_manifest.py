"""The plugins that a run uses: as they are now, as the run recorded them, and what is missing."""

from collections.abc import Mapping, Sequence

from ddpkit.config.component_refs import find, references
from ddpkit.config.loading import Config
from ddpkit.distributed.rank_process import is_speaker
from ddpkit.errors import PluginError, Problem
from ddpkit.plugins.local_files import LOCAL
from ddpkit.plugins.manager import Plugin, Plugins
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
    if is_speaker():
        log.warn(dict.fromkeys(filter(None, (difference(each, now[each["name"]]) for each in used))))


def difference(recorded: Mapping[str, str], plugin: Plugin) -> str:
    """In what a plugin is not the recorded one; empty where it is. The families of one plugin share a message."""
    name = f"plugin {plugin.name.partition('.')[0]} {plugin.version}"
    if plugin.version != recorded["version"]:
        return f"{name} is not what the run began with, {recorded['version']}"
    return f"{name} has other code than when the run began" if plugin.digest != recorded["digest"] else ""


def remedy(plugin: Mapping[str, str]) -> str:
    """How a plugin is had again, as far as its record tells."""
    if plugin["version"] == LOCAL:
        return f"bring back {plugin['distribution']}" if "distribution" in plugin else "name its file in 'plugins.files'"
    return f"pip install {plugin['distribution']}=={plugin['version']}" if "distribution" in plugin else "install it again"
