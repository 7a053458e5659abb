"""Command `ddpkit predict RUN images/`: run inference on images."""

import argparse
from typing import Any

from ddpkit.cli import run, run_folder_options
from ddpkit.cli.options import positive

NAMES = {
    "predict.input": "IMAGES",
    "predict.config.output_format": "--format",
    "predict.config.save_images": "--save-images",
    "predict.config.threshold": "--threshold",
    "predict.config.top_k": "--top-k",
}
"""Key -> argument of this command that sets it, for messages."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    run_folder_options.add_run_folder_arguments(parser)
    parser.add_argument(
        "input",
        nargs="?",
        metavar="IMAGES",
        help="an image file, a folder or a glob pattern (default: 'predict.input' of the run)",
    )
    parser.add_argument("--format", metavar="F", help="output format: json, csv, numpy, or the name of a writer of a plugin")
    parser.add_argument("--save-images", action="store_true", help="also save images with the predictions drawn on them")
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="minimum probability of the second of two classes, a label or a box (default: 'predict.config.threshold')",
    )
    parser.add_argument(
        "--top-k",
        type=positive,
        metavar="N",
        help="list the N most probable classes (default: 'predict.config.top_k')",
    )


def main(arguments: argparse.Namespace) -> int:
    """Write the model's predictions to the folder `predictions` of the run."""
    given: dict[str, Any] = {
        "predict.input": arguments.input,
        "predict.config.output_format": arguments.format,
        "predict.config.save_images": arguments.save_images or None,
        "predict.config.threshold": arguments.threshold,
        "predict.config.top_k": arguments.top_k,
    }
    values = {key: value for key, value in given.items() if value is not None}
    return run.run_and_report(*run_folder_options.parse_run_options(arguments, "predict", values, NAMES))
