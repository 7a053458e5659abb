"""Weights that a new run begins with (`model.pretrained`): what of a file fits the model, and what is said of the rest."""

import itertools
import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torch.nn.parameter import is_lazy

from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError, Problem

LOGGER = logging.getLogger(__name__)

State = dict[str, Tensor]
KEYS = ("state_dict", "model")
"""Under which a file may keep its weights beside other things."""
PREFIXES = ("module.", "_orig_mod.")
"""Of names that were saved from a DDP wrapper, or from a compiled module."""
N_SHOWN = 3


def begin_with(model: nn.Module, config: Config) -> None:
    """Put the weights of `model.pretrained` into the model; says what begins anew and what is left out.

    Raises ConfigError for a file that holds no weights, or none that fit.
    """
    file = Path(config.run.model.pretrained)
    try:
        notes = take(model, read(file))
    except ValueError as error:
        raise ConfigError([config.problem(("model", "pretrained"), f"{file} {error}")]) from error
    for note in notes:
        LOGGER.warning("%s: %s", file, note)


def fill(model: nn.Module, file: Path) -> None:
    """Put the weights of a file into the model that they are of. Raises ConfigError when it is another one."""
    try:
        take_all(model, read(file))
    except ValueError as error:
        raise ConfigError([Problem(str(file), (), str(error))]) from error


def take_all(model: nn.Module, state: State) -> None:
    """Load the tensors into the model, which is to have just these. Raises ValueError."""
    wanted = model.state_dict()
    without_prefixes(state, wanted)
    known = {name: wanted[name] for name in state if name in wanted and not is_lazy(wanted[name])}
    sizes = [f"{name}: {list(state[name].shape)} there, {list(each.shape)} here" for name, each in known.items()]
    refuse(
        "have another shape", [size for size, name in zip(sizes, known, strict=True) if state[name].shape != known[name].shape]
    )
    result = model.load_state_dict(state, strict=False)
    refuse("are missing", [name for name in result.missing_keys if not is_tied(name, state, wanted)])
    refuse("are unknown to the model", result.unexpected_keys)


def read(file: Path) -> State:
    """The tensors of a safetensors file, or of one of torch's, by name. Nothing in it is run. Raises ValueError."""
    try:
        found = load_file(file) if file.suffix == ".safetensors" else torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler meets any bytes, and raises what comes of them
        said = str(error).partition("\n")[0]
        reason = "it holds other things" if "weights_only" in said else said  # torch tells how to run what is in it
        raise ValueError(f"cannot be read as weights (safetensors, or tensors alone as torch saves them): {reason}") from error
    state = next((found[key] for key in KEYS if key in found), found) if isinstance(found, Mapping) else found
    if not isinstance(state, dict) or not all(isinstance(key, str) and isinstance(each, Tensor) for key, each in state.items()):
        raise ValueError("holds no tensors by name; give a state dict, by itself or under 'state_dict' or 'model'")
    return state


def take(model: nn.Module, state: State) -> list[str]:
    """Load the tensors into the model; `state` loses its heads. Returns what is to be said of what did not fit.

    A first convolution for images of another number of channels is summed or repeated over them. Heads, which differ in the
    number of their outputs alone, begin anew. So does a part of the model (names that are alike up to their first dot) of
    which the file has nothing, and what the model has nothing of is left out. Raises ValueError for all else, after which
    the model is of no more use.
    """
    wanted = model.state_dict()
    without_prefixes(state, wanted)
    shared = set(map(part, state)) & set(map(part, wanted))
    adapted = with_channels(state, wanted, model)
    heads = without_heads(state, wanted)
    result = model.load_state_dict(state, strict=False)
    missing = [name for name in result.missing_keys if name not in heads and not is_tied(name, state, wanted)]
    refuse("are missing", [name for name in missing if part(name) in shared])
    refuse("are unknown to the model", [name for name in result.unexpected_keys if part(name) in shared])
    notes = {
        "begin anew, with another number of outputs": list(heads.values()),
        "begin anew, the file has no such part": missing,
        "are left out, the model has no such part": result.unexpected_keys,
    }
    return adapted + [f"{listed(names)} {what}" for what, names in notes.items() if names]


def with_channels(state: State, wanted: State, model: nn.Module) -> list[str]:
    """Fit the first convolution in `state` to the channels of the model's images; returns what is to be said of it."""
    first = next((f"{name}.weight" for name, each in model.named_modules() if isinstance(each, nn.Conv2d)), "")
    there, here = state.get(first), wanted.get(first)
    if there is None or here is None or there.ndim != here.ndim or there.shape[1] == here.shape[1]:
        return []
    fitted = for_channels(there, here.shape[1])
    if fitted.shape != here.shape:
        return []
    state[first] = fitted
    return [f"{first} ({sizes(there, here)}) is summed or repeated, for images of another number of channels"]


def without_heads(state: State, wanted: State) -> dict[str, str]:
    """Take heads of another size out of `state`; returns them with both shapes. Raises ValueError for all other shapes."""
    others = [name for name in state if name in wanted and state[name].shape != wanted[name].shape]
    heads = [name for name in others if state[name].shape[1:] == wanted[name].shape[1:]]
    sizes_of = {name: f"{name} ({sizes(state[name], wanted[name])})" for name in others}
    if not state.keys() & wanted.keys() - set(heads):
        raise ValueError(f"has nothing that fits the model: {listed(state)} there, {listed(wanted)} here")
    refuse("have another shape", [] if len(heads) == len(others) else [*sizes_of.values()])
    for name in heads:
        del state[name]
    return sizes_of


def sizes(there: Tensor, here: Tensor) -> str:
    """Of a tensor of the file, and of the model."""
    return f"{list(there.shape)} there, {list(here.shape)} here"


def is_tied(name: str, state: State, wanted: State) -> bool:
    """Another name of a tensor that was loaded: safetensors keep one of them."""
    return any(wanted[name].is_set_to(wanted[other]) for other in state if other in wanted)


def without_prefixes(state: State, wanted: Iterable[str]) -> None:
    """Names as the model has them, in place."""
    for prefix in PREFIXES:
        if not any(name.startswith(prefix) for name in wanted):
            consume_prefix_in_state_dict_if_present(state, prefix)


def part(name: str) -> str:
    """`layer1` of `layer1.0.conv1.weight`."""
    return name.partition(".")[0]


def refuse(what: str, names: Sequence[str]) -> None:
    """Raise ValueError for tensors that no part of the model is to be without."""
    if names:
        raise ValueError(f"does not fit the model: {listed(names)} {what}; take the model that these weights are of")


def listed(names: Collection[str]) -> str:
    """`3 tensors (a, b, ...)`."""
    shown = ", ".join([*itertools.islice(names, N_SHOWN), *["..."] * (len(names) > N_SHOWN)])
    return f"{len(names)} tensor{'s' * (len(names) != 1)} ({shown})"


def for_channels(weight: Tensor, n_channels: int) -> Tensor:
    """The weights [O, C, H, W] of a first convolution as [O, n_channels, H, W].

    Summed for one channel: a grey image then gives what it gives as red, green and blue. Else repeated in order and
    scaled by C / n_channels, so that the sum over channels stays about as large. As timm does.
    """
    if n_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    channels = weight.shape[1]
    repeated = weight.repeat(1, math.ceil(n_channels / channels), 1, 1)[:, :n_channels]
    return repeated * (channels / n_channels)
