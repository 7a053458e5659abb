"""`ddpkit schema`."""

import argparse
import json
import sys

from ddpkit import plugins
from ddpkit.commands import plugin_options
from ddpkit.errors import ExitCode
from ddpkit.json_schema import json_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The schema goes to stdout, as in `ddpkit schema > ddpkit.schema.json`."""
    plugin_options.add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print the schema with what the installed plugins add."""
    found = plugins.load(plugin_options.policy(arguments))
    sys.stdout.write(json.dumps(json_schema(found), indent=2, ensure_ascii=False) + "\n")
    return ExitCode.DONE
