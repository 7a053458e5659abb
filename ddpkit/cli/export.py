"""`ddpkit export RUN --format F`."""

import argparse
import sys
from pathlib import Path

from ddpkit.cli.options import positive
from ddpkit.errors import ExitCode
from ddpkit.runs.lookup import BEST

FORMATS = ("torchscript", "onnx", "torch-export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--format", choices=FORMATS, required=True, help="of the file")
    parser.add_argument("--weights", default=BEST, metavar="W", help="best, last, another of the run's, or a file")
    parser.add_argument("--output", type=Path, metavar="FILE", help="else RUN/exports/FORMAT with the format's ending")
    parser.add_argument("--size", type=size, metavar="CxHxW", help="of an image, as in 3x64x64; else as the run tells")
    parser.add_argument(
        "--batch", type=positive, metavar="N", help="for N images at once, no more and no less; else for any number"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")


def size(text: str) -> list[int]:
    """The shape of an image."""
    numbers = text.split("x")
    if not all(each.isdecimal() and int(each) for each in numbers):
        raise argparse.ArgumentTypeError(f"expected a shape as in 3x64x64, got {text!r}")
    return [int(each) for each in numbers]


def main(arguments: argparse.Namespace) -> int:
    """Write the file, and say where it is."""
    from ddpkit.inference.export import Wish, export  # noqa: PLC0415 - torch

    wish = Wish(
        format=arguments.format,
        weights=arguments.weights,
        output=arguments.output,
        size=arguments.size,
        batch=arguments.batch,
        force=arguments.force,
    )
    sys.stdout.write(f"{export(arguments.run, wish)}\n")
    return ExitCode.DONE
