"""Compare implementations of an optimizer step: CPU milliseconds of 20 steps on ResNet-18 with one thread."""

import os
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from results import parser_of, publish
from rounds import interleaved, ratios
from torch.optim import SGD, AdamW
from torchvision.models import resnet18

STEPS = 20


def steps_of(kind: type[SGD | AdamW], **options: bool) -> Callable[[], None]:
    """Return a function that runs 20 optimizer steps with constant gradients."""
    parameters = list(resnet18().parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-4)
    optimizer = kind(parameters, lr=1e-4, **({"momentum": 0.9} if kind is SGD else {}), **options)

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.step()

    return steps


def main() -> None:
    """Run the benchmark and print a table."""
    options = parser_of(__doc__, rounds=9).parse_args()
    table = {}
    for kind in (SGD, AdamW):
        rows = {"default": steps_of(kind), "foreach": steps_of(kind, foreach=True), "fused": steps_of(kind, fused=True)}
        measured = interleaved(rows, options.rounds)
        for name, costs in measured.items():
            cpu = [cost.cpu for cost in costs]
            to_default = ratios(cpu, [cost.cpu for cost in measured["default"]])
            table[f"{kind.__name__}, {name}"] = {"CPU ms": [1000 * each for each in cpu], "ratio to default": to_default}
    publish(table, options)


if __name__ == "__main__":
    main()
