"""Command `ddpkit lock x.toml`: record the plugins that a config uses, for `ddpkit run x.toml --locked`."""

import argparse
from pathlib import Path

from ddpkit.cli import options
from ddpkit.config.check import validate
from ddpkit.config.loading import Config, parse_overrides
from ddpkit.config.plugin_params import failed_plugin_warnings
from ddpkit.errors import ConfigError, ExitCode, PluginError
from ddpkit.plugins.manager import Plugins
from ddpkit.tasks import plugin_lock, runner
from ddpkit.tasks.plan import RunOptions
from ddpkit.terminal import write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="x.toml", help="the config file; x.lock.toml is written next to it")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the config file")
    options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Write the lock file; an earlier one is replaced."""
    given = RunOptions(overrides=parse_overrides(arguments.set), no_plugins=arguments.no_plugins, block=tuple(arguments.p))
    file: Path = arguments.file
    config, plugins = runner.read_config(file, given)
    check_usable(config, plugins)
    locked = plugin_lock.create_lock(config, plugins, file.parent)
    path = plugin_lock.write_lock(file, locked, plugin_lock.lock_command(file, given))
    write(f"{path}: {', '.join(dict.fromkeys(map(str, locked)))}\n")
    return ExitCode.DONE


def check_usable(config: Config, plugins: Plugins) -> None:
    """Raise ConfigError if the config has a mistake, PluginError if a plugin that it uses cannot be loaded."""
    report = validate(config, plugins, None, is_new=False)
    if report.problems:
        raise (PluginError if report.needs_failed_plugin else ConfigError)(report.problems)
    if failed := list(failed_plugin_warnings(config.run, plugins)):
        raise PluginError([config.placed(issue) for issue in failed])
