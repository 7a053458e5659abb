"""The options by which every verb is told which plugins may take part."""

import argparse

from ddpkit import schema
from ddpkit.policy import Policy, policy_of


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
