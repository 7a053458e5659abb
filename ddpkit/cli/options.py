"""Options that several commands share: the plugin policy, and parsers of integers."""

import argparse

from ddpkit.config import schema
from ddpkit.config.plugin_policy import combine_policy
from ddpkit.plugins.policy import Policy


def add_plugin_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options `--no-plugins` and `-p no:NAME`."""
    parser.add_argument("--no-plugins", action="store_true", help="use only ddpkit's own plugins")
    parser.add_argument(
        "-p", action="append", default=[], type=parse_block, metavar="no:NAME", help="do not import the plugin NAME (repeatable)"
    )


def parse_block(text: str) -> str:
    """Return the plugin name after `no:`."""
    word, colon, name = text.partition(":")
    if word != "no" or not colon or not name:
        raise argparse.ArgumentTypeError(f"must have the form no:NAME; got {text!r}")
    return name


def policy_from_options(arguments: argparse.Namespace, table: schema.Plugins | None = None) -> Policy:
    """Combine the options with the policies of the TOML and of the environment."""
    return combine_policy(table, arguments.p, no_plugins=arguments.no_plugins)


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1; got {text!r}")
    return int(text)


def non_negative(text: str) -> int:
    """Parse an integer of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be an integer of at least 0; got {text!r}")
    return int(text)
