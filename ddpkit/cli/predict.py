"""`ddpkit predict RUN images/`."""

import argparse
from typing import Any

from ddpkit.cli import run, run_folder_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run_folder_options."""
    run_folder_options.add_run_arguments(parser)
    parser.add_argument("input", nargs="?", metavar="IMAGES", help="a file, a folder or a glob; else the run's 'predict.input'")
    parser.add_argument("--format", metavar="F", help="json, csv, numpy, or another writer")
    parser.add_argument("--save-images", action="store_true", help="pictures with what was found drawn on them, too")


def main(arguments: argparse.Namespace) -> int:
    """Write what the model finds into the run's `predictions`."""
    given: dict[str, Any] = {
        "predict.input": arguments.input,
        "predict.config.output_format": arguments.format,
        "predict.config.save_images": arguments.save_images or None,
    }
    values = {key: value for key, value in given.items() if value is not None}
    return run.done(*run_folder_options.file_and_options(arguments, "predict", values))
