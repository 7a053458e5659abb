"""Summary of a model's layers and costs in the run folder: `model.txt` for human readers, `model.json` for scripts.

Costs are measured on a copy without memory (torch's device `meta`), so the run is not affected: its buffers, random numbers
and device memory do not change.
"""

import copy
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from ddpkit.config import schema
from ddpkit.data.nested import map_tensors
from ddpkit.runs.folder import RunFolder
from ddpkit.runs.log import LOGGER
from ddpkit.training.precision import Precision
from ddpkit.training.trainer import Trainer


@attrs.define
class Layer:
    """Module with its own parameters and operations, without those of the modules inside it."""

    name: str
    type: str
    parameters: int
    trained: int
    output: list[int] | None = None
    """Shape of its output for the first input; None if that is not a tensor, or nothing was measured."""
    flops: int | None = None
    """Floating-point operations for the first input; None if nothing was measured."""


@attrs.frozen
class Cost:
    """Cost of a forward with one input, without autocast."""

    size: list[int]
    dtype: str
    flops: int
    """Floating-point operations; a multiplication and an addition count as two (`torch.utils.flop_counter`)."""
    activation_bytes: int
    """Memory in bytes of all tensors that are saved for a backward, except the weights and buffers."""


@attrs.frozen
class Summary:
    """Summary of a model: parameters, layers and costs."""

    type: str
    parameters: int
    trained: int
    """Number of parameters that are trained in the first epoch; also in the layers."""
    layers: list[Layer]
    frozen_until: Mapping[int, int] = attrs.field(factory=dict)
    """Last frozen epoch -> number of parameters that are trained afterwards."""
    inputs: list[Cost] = attrs.field(factory=list)
    """Cost of a forward for each input; empty if the costs of the model cannot be measured."""


def write_summary(trainer: Trainer, model: schema.Model, folder: RunFolder | None) -> None:
    """Write both files on the rank that has the run folder. If the costs cannot be measured, they are omitted."""
    if folder is None:
        return
    frozen_until = {group.until: group.n_elements for group in trainer.freezing.groups}
    found = attrs.evolve(summarise(trainer.model), frozen_until=frozen_until)
    try:
        add_costs(found, trainer, model.config)
    except Exception:  # noqa: BLE001 - the device `meta` does not support every operation
        LOGGER.debug("cannot measure the costs of the model", exc_info=True)
    folder.write_json("model.json", attrs.asdict(found))
    folder.write("model.txt", format_summary(found))


def summarise(model: nn.Module) -> Summary:
    """Return the summary without costs, which needs no forward."""
    layers = [summarise_layer(name, module) for name, module in model.named_modules() if is_layer(module)]
    return Summary(type(model).__name__, *count_parameters(model.parameters()), layers)


def is_layer(module: nn.Module) -> bool:
    """Return whether the module has parameters of its own, or contains no other module."""
    return not [*module.children()] or bool([*module.parameters(recurse=False)])


def summarise_layer(name: str, module: nn.Module) -> Layer:
    return Layer(name, type(module).__name__, *count_parameters(module.parameters(recurse=False)))


def count_parameters(parameters: Iterable[nn.Parameter]) -> tuple[int, int]:
    """Return the number of elements of all parameters, and of the trainable ones."""
    counts = [(each.numel(), each.numel() * each.requires_grad) for each in parameters]
    return sum(n for n, _ in counts), sum(n for _, n in counts)


def add_costs(found: Summary, trainer: Trainer, config: schema.ModelConfig) -> None:
    """Add the costs for each of `input_sizes`, or for a real sample if there are none. Exceptions of the model are passed on."""
    ghost = copy_to_meta(trainer.model).eval()
    outputs = record_output_shapes(ghost)
    costs = [measure_cost(ghost, images, trainer.precision) for images in example_inputs(trainer, config)]
    found.inputs.extend(cost for cost, _ in costs)
    own_flops = subtract_children(costs[0][1], ghost)
    for each in found.layers:
        each.output, each.flops = outputs.get(each.name), own_flops[each.name]


def example_inputs(trainer: Trainer, config: schema.ModelConfig) -> Iterator[Tensor]:
    """Yield input images without values (device `meta`)."""
    dtypes = config.dtypes or ["float32"] * len(config.input_sizes)
    for size, dtype in zip(config.input_sizes, dtypes, strict=True):
        yield torch.empty(size, dtype=getattr(torch, dtype), device="meta")
    if not config.input_sizes:
        yield map_tensors(to_meta, trainer.loader.sample(1)[0])


def to_meta(images: Tensor) -> Tensor:
    return images.to("meta")


def copy_to_meta(model: nn.Module) -> nn.Module:
    """Return a copy whose parameters and buffers have shapes but no values."""
    ghosts: dict[int, Any] = {id(each): each.to("meta") for each in model.buffers()}
    ghosts |= {id(each): nn.Parameter(each.detach().to("meta"), each.requires_grad) for each in model.parameters()}
    return copy.deepcopy(model, ghosts)


def record_output_shapes(ghost: nn.Module) -> Mapping[str, list[int]]:
    """Return the output shape of each module whose output is a tensor; the first forward fills the mapping."""
    outputs: dict[str, list[int]] = {}

    def note(name: str, _module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.setdefault(name, list(output.shape))

    for name, module in ghost.named_modules():
        module.register_forward_hook(functools.partial(note, name))
    return outputs


def measure_cost(ghost: nn.Module, images: Tensor, precision: Precision) -> tuple[Cost, Mapping[str, Mapping[Any, int]]]:
    """Return the cost of a forward, and the operations of each module by kind."""
    given = {storage_id(each) for each in [*ghost.parameters(), *ghost.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}  # keeps the storages alive, so that no address is reused

    def keep(tensor: Tensor) -> Tensor:
        kept[storage_id(tensor)] = tensor.untyped_storage()
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        precision(ghost, images)
    n_bytes = sum(storage.nbytes() for number, storage in kept.items() if number not in given)
    dtype = str(images.dtype).removeprefix("torch.")
    return Cost(list(images.shape), dtype, counter.get_total_flops(), n_bytes), counter.get_flop_counts()


def storage_id(tensor: Tensor) -> int:
    """Return a number that is equal for tensors that share memory, also on the device `meta`."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the data pointer of every meta tensor is 0


def subtract_children(flops: Mapping[str, Mapping[Any, int]], ghost: nn.Module) -> dict[str, int]:
    """Return the operations of each module without those of the modules inside it."""
    root = type(ghost).__name__
    total = {name: sum(flops.get(f"{root}.{name}".rstrip("."), {}).values()) for name, _ in ghost.named_modules()}
    mine = dict(total)
    for name, n in total.items():
        if name:
            mine[name.rpartition(".")[0]] -= n
    return mine


def format_summary(found: Summary) -> str:
    """Return a line for the model, a line for each input, and a table of the layers."""
    lines = [f"{found.type}: {found.parameters:,} parameters, {found.trained:,} of them trainable"]
    lines += [f"{n:,} parameters are frozen until epoch {epoch}" for epoch, n in found.frozen_until.items()]
    for cost in found.inputs:
        numbers = f"{cost.flops / 1e9:,.3f} GFLOPs, {cost.activation_bytes / 1e6:,.1f} MB of activations saved for the backward"
        lines.append(f"{cost.size} {cost.dtype}: {numbers}")
    rows = [["layer", "type", "output", "parameters", "trained", "FLOPs"]]
    rows += [
        [each.name, each.type, *map(format_cell, [each.output, each.parameters, each.trained, each.flops])]
        for each in found.layers
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["", *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]
    return "\n".join(lines) + "\n"


def format_cell(value: list[int] | int | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
