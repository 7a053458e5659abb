"""Lock file of a config: the plugins that it uses, with versions and digests. `ddpkit run --locked` starts with these only."""

import contextlib
import os
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import attrs
import tomli_w
from attrs.validators import instance_of

from ddpkit.config import toml
from ddpkit.config.component_refs import find_entry, references
from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError, Diagnostic, PluginError
from ddpkit.plugins import manager
from ddpkit.plugins.local_files import LOCAL
from ddpkit.plugins.manager import GROUP, Plugin, Plugins
from ddpkit.plugins.policy import normalise_name
from ddpkit.plugins.registry import UnknownNameError
from ddpkit.runs.files import Files, replace_file
from ddpkit.runs.output_file import OutputFile
from ddpkit.runs.plugin_manifest import install_hint
from ddpkit.tasks.plan import RunOptions
from ddpkit.terminal import escape

SUFFIX = ".lock.toml"
MARK = "# Written by 'ddpkit lock'"
HEADER = """\
{mark}: ddpkit, and the plugins that {name} uses. 'ddpkit run {name} --locked' starts only
# if they are unchanged. To accept a change, write this file again:
#     {command}

"""


@attrs.frozen(kw_only=True)
class LockedPlugin:
    """Plugin that a config uses, or ddpkit itself with all of its own plugins."""

    name: str = attrs.field(validator=instance_of(str))
    distribution: str = attrs.field(validator=instance_of(str))
    """Distribution or, for a local file, its path relative to the folder of the lock file."""
    version: str = attrs.field(validator=instance_of(str))
    digest: str = attrs.field(validator=instance_of(str))

    @property
    def key(self) -> tuple[str, str]:
        """Key that is the same for every version of the plugin."""
        return normalise_name(self.distribution), self.name

    def __str__(self) -> str:
        return self.distribution if self.version == LOCAL else f"{self.distribution} {self.version}"


def lock_path(file: Path) -> Path:
    """Return the path of a config's lock file: `x.lock.toml` for `x.toml`."""
    return file.with_name(file.name.removesuffix(".toml") + SUFFIX)


def lock_command(file: Path, options: RunOptions) -> str:
    """Return the command that writes the lock file of a config with the same overrides and the same blocked plugins."""
    same = RunOptions(overrides=options.overrides, no_plugins=options.no_plugins, block=options.block)
    return shlex.join(["ddpkit", "lock", str(file), *same.to_argv()])


def create_lock(config: Config, plugins: Plugins, folder: Path) -> list[LockedPlugin]:
    """Return ddpkit, and the third-party plugins and local files that the config uses. `folder`: folder of the lock file."""
    used = [find_core(), *used_plugins(config, plugins)]
    return [to_locked(each, folder) for each in used]


def find_core() -> Plugin:
    """Return ddpkit with all of its own plugins, as one plugin."""
    return Plugin(GROUP, GROUP, version(GROUP), "ok", digest=manager.digest_core())


def used_plugins(config: Config, plugins: Plugins) -> list[Plugin]:
    """Return the plugins that the config enables or whose components it names, without ddpkit's own."""
    names = set()
    for reference in references(config.run):
        with contextlib.suppress(UnknownNameError):  # a plugin of the lock file may be missing
            names.add(find_entry(reference, plugins.registry).plugin)
    return [each for each in plugins.plugins if each.distribution != GROUP and (each.is_enabled or each.name in names)]


def to_locked(plugin: Plugin, folder: Path) -> LockedPlugin:
    is_local = plugin.version == LOCAL
    distribution = os.path.relpath(plugin.distribution, folder.absolute()) if is_local else plugin.distribution
    return LockedPlugin(name=plugin.name, distribution=distribution, version=plugin.version, digest=plugin.digest)


def write_lock(file: Path, locked: Sequence[LockedPlugin], command: str) -> Path:
    """Write the lock file of a config atomically, and return its path.

    Raises ConfigError if it cannot be written, or would replace a file that is not a lock file.
    """
    path = lock_path(file)
    output = OutputFile(path=path, option="", suffix=".toml", command="ddpkit lock", mark=MARK.encode())
    if path.exists() and not output.is_ours():
        raise ConfigError([Diagnostic(str(path), (), "was not written by 'ddpkit lock' and is not replaced; rename it")])
    header = HEADER.format(mark=MARK, name=escape(shlex.quote(file.name)), command=escape(command))
    text = header + tomli_w.dumps({"plugin": [attrs.asdict(each) for each in locked]})
    try:
        replace_file(Files(), path, [text.encode()])
    except OSError as error:
        message = f"cannot be written: {error.strerror}; make the folder writable"
        raise ConfigError([Diagnostic(str(path), (), message)]) from error
    return path


def read_lock(file: Path, command: str) -> list[LockedPlugin]:
    """Read the lock file of a config. Raises ConfigError, with the command that writes it, if it is missing or damaged."""
    path = lock_path(file)
    if not path.exists():
        raise ConfigError([Diagnostic(str(path), (), f"was not found; run: {command}")])
    try:
        return [LockedPlugin(**table) for table in toml.read(path).data["plugin"]]
    except (KeyError, TypeError) as error:
        raise ConfigError([Diagnostic(str(path), (), f"is not a lock file of ddpkit; run: {command}")]) from error


def check_lock(file: Path, config: Config, plugins: Plugins, options: RunOptions) -> None:
    """Raise PluginError with all differences between the lock file, the installed plugins and those that the config uses."""
    command, path = lock_command(file, options), lock_path(file)
    locked = {each.key: each for each in read_lock(file, command)}
    installed = {to_locked(each, path.parent).key: each for each in [*plugins.plugins, find_core()]}
    changes = [describe_change(each, installed.get(key)) for key, each in locked.items()]
    problems = [f"{change}, or to accept this: {command}" for change in changes if change]
    problems += describe_unlocked(create_lock(config, plugins, path.parent), locked, command)
    if problems:
        raise PluginError([Diagnostic(str(path), (), problem) for problem in dict.fromkeys(problems)])


def describe_unlocked(used: Sequence[LockedPlugin], locked: Mapping[tuple[str, str], LockedPlugin], command: str) -> list[str]:
    """Return a message for each plugin that is used but not locked."""
    unlocked = [each for each in used if each.key not in locked]
    return [f"plugin {each.name} ({each}) is used, but is not in this file; run: {command}" for each in unlocked]


def describe_change(locked: LockedPlugin, found: Plugin | None) -> str:
    """Return how an installed plugin differs from the lock file, with the remedy; empty if a run with it can start.

    A local file that the config does not list, and a plugin that an option blocks, do not run, so they may differ.
    """
    hint = install_hint(attrs.asdict(locked))
    if found is None:
        return "" if locked.version == LOCAL else f"{locked} is not installed; {hint}"
    if found.version != locked.version:
        return f"{locked} is locked, but {found.version} is installed; {hint}"
    again = hint.replace("pip install", "pip install --force-reinstall --no-deps")  # pip would keep the same version
    if found.status not in ("ok", "blocked"):
        return f"{locked}: plugin {found.name} has the status {found.status!r}: {found.error}; {again}"
    is_changed = found.status == "ok" and found.digest != locked.digest
    return f"{locked} has different code than the locked one; {again}" if is_changed else ""
