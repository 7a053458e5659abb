"""What a model is made of and what it costs, for its run folder: `model.txt` for people, `model.json` for scripts.

Costs are those of a copy without memory (torch's device `meta`), so that nothing of the run is touched: no buffer, no
random number, no memory of the device.
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
from ddpkit.data.nested import mapped
from ddpkit.runs.folder import RunFolder
from ddpkit.runs.log import LOGGER
from ddpkit.training.precision import Precision
from ddpkit.training.trainer import Engine


@attrs.define
class Layer:
    """A module: parameters and operations that are its own, not of the modules inside it."""

    name: str
    type: str
    parameters: int
    trained: int
    output: list[int] | None = None
    """Shape of what it makes of the first input; None where that is no tensor, or nothing was counted."""
    flops: int | None = None
    """For the first input."""


@attrs.frozen
class Cost:
    """Of a forward with one input, without autocast."""

    size: list[int]
    dtype: str
    flops: int
    """A multiplication and an addition are two (`torch.utils.flop_counter`)."""
    activation_bytes: int
    """What a backward would need of it: all that is kept until then, beside the weights."""


@attrs.frozen
class Summary:
    """A model."""

    type: str
    parameters: int
    trained: int
    layers: list[Layer]
    inputs: list[Cost] = attrs.field(factory=list)
    """What each costs; empty for a model that cannot be counted."""


def write(engine: Engine, model: schema.Model, folder: RunFolder | None) -> None:
    """Both files, on the rank that has the folder; no run ends for their sake."""
    if folder is None:
        return
    found = summary(engine.model)
    try:
        count(found, engine, model.config)
    except Exception:  # noqa: BLE001 - a model may do what tensors without values cannot
        LOGGER.debug("the model's costs cannot be counted", exc_info=True)
    folder.write_json("model.json", attrs.asdict(found))
    folder.write("model.txt", text(found))


def summary(model: nn.Module) -> Summary:
    """What is known without a forward."""
    layers = [layer(name, module) for name, module in model.named_modules() if is_layer(module)]
    return Summary(type(model).__name__, *sizes(model.parameters()), layers)


def is_layer(module: nn.Module) -> bool:
    """It has something of its own, or nothing else."""
    return not [*module.children()] or bool([*module.parameters(recurse=False)])


def layer(name: str, module: nn.Module) -> Layer:
    """Without its costs."""
    return Layer(name, type(module).__name__, *sizes(module.parameters(recurse=False)))


def sizes(parameters: Iterable[nn.Parameter]) -> tuple[int, int]:
    """How many numbers they are, and how many of these are trained."""
    counts = [(each.numel(), each.numel() * each.requires_grad) for each in parameters]
    return sum(n for n, _ in counts), sum(n for _, n in counts)


def count(found: Summary, engine: Engine, config: schema.ModelConfig) -> None:
    """Add the costs for each of `input_sizes`, else for a real sample. Raises whatever the model raises."""
    ghost = without_memory(engine.model).eval()
    outputs = watched(ghost)
    costs = [cost_of(ghost, images, engine.precision) for images in inputs(engine, config)]
    found.inputs.extend(cost for cost, _ in costs)
    own_flops = own(costs[0][1], ghost)
    for each in found.layers:
        each.output, each.flops = outputs.get(each.name), own_flops[each.name]


def inputs(engine: Engine, config: schema.ModelConfig) -> Iterator[Tensor]:
    """Images without values."""
    dtypes = config.dtypes or ["float32"] * len(config.input_sizes)
    for size, dtype in zip(config.input_sizes, dtypes, strict=True):
        yield torch.empty(size, dtype=getattr(torch, dtype), device="meta")
    if not config.input_sizes:
        yield mapped(without_values, engine.train.sample(1)[0])


def without_values(images: Tensor) -> Tensor:
    """Shape and type alone."""
    return images.to("meta")


def without_memory(model: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers have shapes alone."""
    ghosts: dict[int, Any] = {id(each): each.to("meta") for each in model.buffers()}
    ghosts |= {id(each): nn.Parameter(each.detach().to("meta"), each.requires_grad) for each in model.parameters()}
    return copy.deepcopy(model, ghosts)


def watched(ghost: nn.Module) -> Mapping[str, list[int]]:
    """The shape of what each module makes, as far as it is a tensor: filled by the first forward."""
    outputs: dict[str, list[int]] = {}

    def note(name: str, _module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.setdefault(name, list(output.shape))

    for name, module in ghost.named_modules():
        module.register_forward_hook(functools.partial(note, name))
    return outputs


def cost_of(ghost: nn.Module, images: Tensor, precision: Precision) -> tuple[Cost, Mapping[str, Mapping[Any, int]]]:
    """Of a forward, and the operations of each module by kind."""
    given = {storage_id(each) for each in [*ghost.parameters(), *ghost.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}  # which lives on here, so that no other gets its number

    def keep(tensor: Tensor) -> Tensor:
        kept[storage_id(tensor)] = tensor.untyped_storage()
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        precision(ghost, images)
    n_bytes = sum(storage.nbytes() for number, storage in kept.items() if number not in given)
    dtype = str(images.dtype).removeprefix("torch.")
    return Cost(list(images.shape), dtype, counter.get_total_flops(), n_bytes), counter.get_flop_counts()


def storage_id(tensor: Tensor) -> int:
    """Tensors that share memory have one number, also where that memory is none."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the address of what has no memory is 0


def own(flops: Mapping[str, Mapping[Any, int]], ghost: nn.Module) -> dict[str, int]:
    """Of each module what the modules inside it do not do."""
    root = type(ghost).__name__
    total = {name: sum(flops.get(f"{root}.{name}".rstrip("."), {}).values()) for name, _ in ghost.named_modules()}
    mine = dict(total)
    for name, n in total.items():
        if name:
            mine[name.rpartition(".")[0]] -= n
    return mine


def text(found: Summary) -> str:
    """A line on the whole, one on each input, and a table of layers."""
    lines = [f"{found.type}: {found.parameters:,} parameters, {found.trained:,} of them trained"]
    for cost in found.inputs:
        numbers = f"{cost.flops / 1e9:,.3f} GFLOPs, {cost.activation_bytes / 1e6:,.1f} MB of activations for a backward"
        lines.append(f"{cost.size} {cost.dtype}: {numbers}")
    rows = [["layer", "type", "output", "parameters", "trained", "FLOPs"]]
    rows += [
        [each.name, each.type, *map(cell, [each.output, each.parameters, each.trained, each.flops])] for each in found.layers
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["", *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]
    return "\n".join(lines) + "\n"


def cell(value: list[int] | int | None) -> str:
    """Of the table."""
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
