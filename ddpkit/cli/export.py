"""Command `ddpkit export RUN --format F`: write the model of a run as one file."""

import argparse
from pathlib import Path

from ddpkit.cli.options import positive
from ddpkit.errors import ExitCode
from ddpkit.runs.lookup import BEST, RUN_PATHS
from ddpkit.terminal import write

FORMATS = ("torchscript", "onnx", "torch-export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help=RUN_PATHS)
    parser.add_argument("--format", choices=FORMATS, required=True, help="format of the file")
    parser.add_argument(
        "--weights",
        default=BEST,
        metavar="W",
        help="weights to export: best, last, another name in the run's weights folder, or a file",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="output file (default: RUN/exports/FORMAT, with the file extension of the format)",
    )
    parser.add_argument(
        "--size", type=size, metavar="CxHxW", help="shape of an input image, for example 3x64x64 (default: the shape in the run)"
    )
    parser.add_argument("--batch", type=positive, metavar="N", help="fix the batch size to N images (default: any number)")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")


def size(text: str) -> list[int]:
    """Parse the shape of an image, such as `3x64x64`."""
    numbers = text.split("x")
    if not all(each.isdecimal() and int(each) for each in numbers):
        raise argparse.ArgumentTypeError(f"must be a shape such as 3x64x64; got {text!r}")
    return [int(each) for each in numbers]


def main(arguments: argparse.Namespace) -> int:
    """Export the model, and print the path of the file."""
    from ddpkit.inference.export import ExportOptions, export  # noqa: PLC0415 - imports torch

    options = ExportOptions(
        format=arguments.format,
        weights=arguments.weights,
        output=arguments.output,
        size=arguments.size,
        batch=arguments.batch,
        force=arguments.force,
    )
    write(f"{export(arguments.run, options)}\n")
    return ExitCode.DONE
