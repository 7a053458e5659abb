"""Command `ddpkit test RUN`: evaluate the weights of a run on its test split."""

import argparse

from ddpkit.cli import run, run_folder_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    run_folder_options.add_run_folder_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Evaluate the weights in the same way as the run's own test, and write the same files."""
    return run.run_and_report(*run_folder_options.parse_run_options(arguments, "test", {}))
