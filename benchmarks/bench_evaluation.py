"""Measure the share of metrics in the evaluation of a U-Net, on one thread."""

import os
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from results import Rows, parser_of, publish
from rounds import interleaved
from torch.nn import functional

from ddpkit_plugins.metrics.stat_scores import dice, iou
from ddpkit_plugins.models.unet import UNet
from ddpkit_plugins.postprocesses import segmentation

CASES = {"16 channels, 2 classes": (16, 3, 2), "16 channels, 21 classes": (16, 3, 21), "64 channels, 21 classes": (64, 4, 21)}
"""Row -> channels of the first level, number of levels, number of classes."""
SIZE = 256


def measure(width: int, depth: int, n_classes: int, n_rounds: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds of each part for a micro-batch of two images, and the share of the metrics."""
    model = UNet(1, n_classes, depth, width).eval()
    images, targets = torch.randn(2, 1, SIZE, SIZE), torch.randint(n_classes, (2, SIZE, SIZE))
    outputs, postprocess = model(images), segmentation()
    predictions, metrics = postprocess(outputs), [dice(n_classes), iou(n_classes)]
    parts: dict[str, Callable[[], object]] = {
        "forward": lambda: model(images),
        "loss": lambda: functional.cross_entropy(outputs, targets),
        "postprocess": lambda: postprocess(outputs),
        "two metrics": lambda: [metric.update(predictions, targets) for metric in metrics],
    }
    costs = {name: [1000 * cost.cpu for cost in costs] for name, costs in interleaved(parts, n_rounds).items()}
    totals = [sum(values) for values in zip(*costs.values(), strict=True)]
    shares = [100 * part / total for part, total in zip(costs["two metrics"], totals, strict=True)]
    return {f"{name} ms": values for name, values in costs.items()} | {"share of metrics, %": shares}


@torch.no_grad()
def main() -> None:
    """Run the benchmark and print a table."""
    options = parser_of(__doc__, rounds=5).parse_args()
    torch.set_num_threads(1)
    rows: Rows = {name: measure(*case, options.rounds) for name, case in CASES.items()}
    publish(rows, options)


if __name__ == "__main__":
    main()
