"""Options that several commands share: which plugins may take part, whole numbers."""

import argparse

from ddpkit.config import schema
from ddpkit.config.plugin_policy import policy_of
from ddpkit.plugins.policy import Policy


def add_plugin_arguments(parser: argparse.ArgumentParser) -> None:
    """`--no-plugins` and `-p no:NAME`."""
    parser.add_argument("--no-plugins", action="store_true", help="ddpkit's own alone")
    parser.add_argument("-p", action="append", default=[], type=blocked, metavar="no:NAME", help="do not even import this plugin")


def blocked(text: str) -> str:
    """The name behind `no:`."""
    word, colon, name = text.partition(":")
    if word != "no" or not colon or not name:
        raise argparse.ArgumentTypeError(f"expected no:NAME, got {text!r}")
    return name


def policy(arguments: argparse.Namespace, table: schema.Plugins | None = None) -> Policy:
    """With what the TOML and the environment say."""
    return policy_of(table, arguments.p, no_plugins=arguments.no_plugins)


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def whole(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)
