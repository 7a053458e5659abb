"""`ddpkit test RUN`."""

import argparse

from ddpkit.cli import run, run_folder_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run_folder_options."""
    run_folder_options.add_run_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Measure the weights as the run's own test did, and write what it wrote."""
    return run.done(*run_folder_options.file_and_options(arguments, "test", {}))
