"""`ddpkit test RUN`."""

import argparse

from ddpkit.commands import of_run, run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    of_run.add_run_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Measure the weights as the run's own test did, and write what it wrote."""
    return run.done(*of_run.file_and_options(arguments, "test", {}))
