"""The plugin policy of a run: `[plugins]` in the TOML, the environment and the command line, combined."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ddpkit.config import schema
from ddpkit.errors import ConfigError, Diagnostic
from ddpkit.plugins.policy import Policy, normalise_name

VARIABLE = "DDPKIT_PLUGINS"
"""Environment variable with the allowed third-party plugins, separated by commas. An empty value allows none."""


def combine_policy(table: schema.Plugins | None = None, block: Sequence[str] = (), *, no_plugins: bool = False) -> Policy:
    """Combine the TOML, the environment and the command line to one policy. A plugin must be allowed by all of them.

    Args:
        table: `[plugins]` with absolute paths in `files`; None without a TOML file.
        block: Names from `-p no:NAME`.
        no_plugins: Allow only ddpkit's own plugins (`--no-plugins`).

    Raises:
        ConfigError: `no_plugins` is set, and the TOML names plugin files.
    """
    table = table or schema.Plugins()
    if no_plugins and table.files:
        raise ConfigError(
            [Diagnostic("--no-plugins", ("plugins", "files"), "cannot be used with '--no-plugins'; remove one of them")]
        )
    lists = list(iterate_allow_lists(table, no_plugins=no_plugins))
    common = (
        [name for name in lists[0][1] if all(normalise_name(name) in set(map(normalise_name, names)) for _, names in lists)]
        if lists
        else []
    )
    return Policy(
        block={**dict.fromkeys(table.block, "[plugins] block"), **{name: f"-p no:{name}" for name in block}},
        allow=tuple(common) if lists else None,
        allowed_by=lists[-1][0] if lists else "",
        enable=tuple(table.enable),
        prefer=table.prefer,
        files=tuple(map(Path, table.files)),
    )


def iterate_allow_lists(table: schema.Plugins, *, no_plugins: bool) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each list of allowed plugins, with its source for messages."""
    if table.allow:
        yield "[plugins] allow", table.allow
    if VARIABLE in os.environ:
        yield VARIABLE, [name.strip() for name in os.environ[VARIABLE].split(",") if name.strip()]
    if no_plugins:
        yield "--no-plugins", ()
