"""The plugin policy of a run: `[plugins]` in the TOML, the environment and the command line, combined."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ddpkit.config import schema
from ddpkit.errors import ConfigError, Problem
from ddpkit.plugins.policy import Policy, normal

VARIABLE = "DDPKIT_PLUGINS"
"""Environment: the third-party plugins that may take part, separated by commas; empty = none."""


def policy_of(table: schema.Plugins | None = None, block: Sequence[str] = (), *, no_plugins: bool = False) -> Policy:
    """One policy of all that was said; the stricter word wins.

    Args:
        table: `[plugins]`, its files absolute; None where there is no TOML.
        block: Names behind `-p no:NAME`.
        no_plugins: ddpkit's own alone.

    Raises:
        ConfigError: `--no-plugins`, and the TOML names files.
    """
    table = table or schema.Plugins()
    if no_plugins and table.files:
        raise ConfigError([Problem("--no-plugins", ("plugins", "files"), "are plugins too; leave one of the two out")])
    lists = list(allow_lists(table, no_plugins=no_plugins))
    common = [name for name in lists[0][1] if all(normal(name) in set(map(normal, names)) for _, names in lists)] if lists else []
    return Policy(
        block={**dict.fromkeys(table.block, "[plugins] block"), **{name: f"-p no:{name}" for name in block}},
        allow=tuple(common) if lists else None,
        allowed_by=lists[-1][0] if lists else "",
        enable=tuple(table.enable),
        prefer=table.prefer,
        files=tuple(map(Path, table.files)),
    )


def allow_lists(table: schema.Plugins, *, no_plugins: bool) -> Iterator[tuple[str, Sequence[str]]]:
    """Each list of those that may take part, with who gives it."""
    if table.allow:
        yield "[plugins] allow", table.allow
    if VARIABLE in os.environ:
        yield VARIABLE, [name.strip() for name in os.environ[VARIABLE].split(",") if name.strip()]
    if no_plugins:
        yield "--no-plugins", ()
