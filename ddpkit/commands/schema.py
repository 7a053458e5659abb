"""`ddpkit schema`."""

import argparse
import json
import sys

from ddpkit import plugins
from ddpkit.errors import ExitCode
from ddpkit.json_schema import json_schema


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """None: the schema goes to stdout, as in `ddpkit schema > ddpkit.schema.json`."""


def main(_arguments: argparse.Namespace) -> int:
    """Print the schema with what the installed plugins add."""
    sys.stdout.write(json.dumps(json_schema(plugins.load()), indent=2, ensure_ascii=False) + "\n")
    return ExitCode.DONE
