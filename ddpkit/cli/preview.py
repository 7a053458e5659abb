"""Command `ddpkit preview x.toml`: draw the first training samples."""

import argparse
from pathlib import Path

from ddpkit.cli.options import add_plugin_arguments, positive
from ddpkit.config.loading import parse_overrides
from ddpkit.errors import ExitCode
from ddpkit.tasks.plan import RunOptions
from ddpkit.terminal import escape, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="x.toml", help="the config file")
    parser.add_argument("--output", type=Path, metavar="FILE", help="picture to write (default: x-preview.png)")
    parser.add_argument("--samples", type=positive, default=16, metavar="N", help="number of samples (default: 16)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the config file")
    add_plugin_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Draw the samples, and print the path of the picture."""
    from ddpkit.tasks.preview import preview  # noqa: PLC0415 - `--help` does not need it

    options = RunOptions(overrides=parse_overrides(arguments.set), no_plugins=arguments.no_plugins, block=tuple(arguments.p))
    made = preview(arguments.file, options, arguments.samples, arguments.output)
    write(f"{made.n_samples} training samples, in the order of the first epoch; images: {made.images}\n")
    write(f"{escape(str(made.file))}\n")
    return ExitCode.DONE
