"""Completion of a command line: the shell starts `ddpkit` with `_ARGCOMPLETE` set, see `ddpkit completion`.

The words for a value are found by the metavar of its argument, so commands need no code for their completion.
"""

import argparse
import contextlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import argcomplete
import attrs
from argcomplete.completers import BaseCompleter, FilesCompleter

from ddpkit.cli import explain
from ddpkit.cli.config_keys import ConfigKey, component_keys, format_choices, schema_keys
from ddpkit.config import loading, schema
from ddpkit.config.explanation import explain_config
from ddpkit.config.loading import Config
from ddpkit.config.plugin_policy import combine_policy
from ddpkit.errors import ConfigError
from ddpkit.plugins import manager
from ddpkit.plugins.manager import Plugins
from ddpkit.plugins.registry import BUILTIN, Registry
from ddpkit.runs.lookup import BEST, locate_run

Words = dict[str, str]
"""Possible word -> its description, which zsh and fish show."""
PATHS = ("output_dir", "dataset.root_dir", "dataset.ref", "model.pretrained", "model.continue_checkpoint", "predict.input")
"""Config keys whose value is a path."""


def complete(build_parser: Callable[[Sequence[str]], argparse.ArgumentParser]) -> None:
    """Print the words that can replace the word at the cursor, and exit. Options are offered after `-` only."""
    line = find_command(os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])])
    os.environ |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    parser = build_parser(line.split()[1:])
    argcomplete.autocomplete(parser, always_complete_options=False, default_completer=ValueCompleter())


def find_command(line: str) -> str:
    """Return the last command of a line, from `ddpkit` on; zsh and fish also pass words such as `CUDA_VISIBLE_DEVICES=0`."""
    found = re.search(r"(\S*/)?\bddpkit\s.*", re.split("[;&|(]", line)[-1])
    return found[0] if found else line


class ValueCompleter(BaseCompleter):
    """Completer of all values that are not in a fixed list."""

    def __call__(self, *, prefix: str, action: argparse.Action, parsed_args: argparse.Namespace, **_others: object) -> Words:
        """Return the words for the value of an argument; none after an error, which must not disturb the shell."""
        find_words = COMPLETERS.get(str(action.metavar))
        with contextlib.suppress(Exception):
            return find_words(prefix, parsed_args) if find_words else {}
        return {}


def find_files(prefix: str, _given: argparse.Namespace, *endings: str) -> Words:
    return dict.fromkeys(FilesCompleter(endings)(prefix), "")


def find_toml_files(prefix: str, given: argparse.Namespace) -> Words:
    return find_files(prefix, given, "toml")


def find_weights(prefix: str, given: argparse.Namespace) -> Words:
    """Return the names of weights in the given run, and files."""
    run = getattr(given, "run", None)
    names = {"best", "last", *(file.stem for file in (run.glob("weights/*.safetensors") if run else ()))}
    return dict.fromkeys(sorted(names), "weights of the run") | find_files(prefix, given)


def find_plugins(_prefix: str, _given: argparse.Namespace) -> Words:
    return {f"no:{each.name}": f"{each.distribution} {each.version}" for each in manager.list_installed()}


def find_components(prefix: str, given: argparse.Namespace) -> Words:
    """Return the names of the components of the given kind."""
    return component_words(given.kind, load_plugins(given).registry, prefix)


def find_writers(prefix: str, given: argparse.Namespace) -> Words:
    return component_words("writer", load_plugins(given).registry, prefix)


def component_words(kind: str, registry: Registry, prefix: str) -> Words:
    """Return the names of the components of a kind. Qualified names of built-in ones are left out until they are begun."""
    words = dict.fromkeys(registry.matching(kind, "*"), "")  # includes the names of families
    for entry in registry:
        if entry.kind == kind:
            words |= dict.fromkeys((*entry.bare_names, entry.qualified_name), entry.component.doc)
    return {name: words[name] for name in sorted(words) if "/" in prefix or not name.startswith(f"{BUILTIN}/")}


def find_overrides(prefix: str, given: argparse.Namespace) -> Words:
    """Return `KEY=` for each key that `--set` can set or, after `KEY=`, `KEY=VALUE` for each known value."""
    config = load_config(given)
    name, equals, value = prefix.partition("=")
    if not equals and not config:
        return {f"{each}=": each.help for each in schema_keys()}
    plugins = load_plugins(given, config)
    keys = {str(each): each for each in (*schema_keys(), *component_keys(config, plugins.registry))}
    if not equals:
        return {f"{name}=": each.help for name, each in keys.items()}
    return {f"{name}={word}": text for word, text in find_values(keys[name], value, given, plugins.registry).items()}


def find_values(key: ConfigKey, prefix: str, given: argparse.Namespace, registry: Registry) -> Words:
    """Return the known values of a config key."""
    if str(key) in PATHS:
        return find_files(prefix, given)
    return component_words(key.kind, registry, prefix) if key.kind else dict.fromkeys(format_choices(key.type), "")


def find_keys(_prefix: str, given: argparse.Namespace) -> Words:
    """Return the keys and tables of the given config, as `ddpkit explain` shows them."""
    config = load_config(given)
    if not config:
        return {}
    return dict.fromkeys(explain.known_keys(explain_config(config, load_plugins(given, config))), "")


def load_config(given: argparse.Namespace) -> Config | None:
    """Return the config of the command line, or of its run, with the overrides so far; None if there is none."""
    for overrides in (getattr(given, "set", None) or [], []):  # a wrong override must not hide the file
        with contextlib.suppress(ConfigError):  # nor may a wrong file hide the keys of the format
            file = find_config_file(given)
            return loading.read(file, loading.parse_overrides(overrides)) if file else None
    return None


def find_config_file(given: argparse.Namespace) -> Path | None:
    """Return the TOML file of the command line, or that of its run; None if there is none."""
    if getattr(given, "run", None):
        return locate_run(given.run, BEST, "RUN")[0] / "config.toml"
    file: Path | None = getattr(given, "file", None) or getattr(given, "config", None)
    return file


def load_plugins(given: argparse.Namespace, config: Config | None = None) -> Plugins:
    """Load the installed plugins that the command line and the config allow; the files in `[plugins] files` are not run."""
    table = attrs.evolve(config.run.plugins, files=[]) if config else schema.Plugins()
    no_plugins = getattr(given, "no_plugins", False)
    return manager.load(combine_policy(table, getattr(given, "p", ()) or (), no_plugins=no_plugins))


COMPLETERS: Mapping[str, Callable[[str, Any], Words]] = {
    **dict.fromkeys(("RUN", "PATH", "FILE", "FOLDER", "DIR", "IMAGES"), find_files),
    "x.toml": find_toml_files,
    "KEY=VALUE": find_overrides,
    "KEY": find_keys,
    **dict.fromkeys(("NAME", "GLOB"), find_components),
    "no:NAME": find_plugins,
    "W": find_weights,
    "F": find_writers,
}
"""Metavar of an argument -> function that returns the words for its value."""
