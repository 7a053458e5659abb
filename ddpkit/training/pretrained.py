"""Load pretrained weights into a new model (`model.pretrained`), and report the tensors that do not fit."""

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
from ddpkit.errors import ConfigError, Diagnostic

LOGGER = logging.getLogger(__name__)

State = dict[str, Tensor]
KEYS = ("state_dict", "model")
"""Keys under which a file may store its weights together with other data."""
PREFIXES = ("module.", "_orig_mod.")
"""Prefixes of tensor names that a DDP wrapper or a compiled module adds."""
N_SHOWN = 3


def load_pretrained(model: nn.Module, config: Config) -> None:
    """Load the weights of `model.pretrained` into the model; log warnings about re-initialised and skipped tensors.

    Raises ConfigError if the file contains no weights, or weights that do not fit.
    """
    file = Path(config.run.model.pretrained)
    try:
        notes = load_matching(model, read_weights(file))
    except ValueError as error:
        raise ConfigError([config.problem(("model", "pretrained"), f"{file} {error}")]) from error
    for note in notes:
        LOGGER.warning("%s: %s", file, note)


def load_weights(model: nn.Module, file: Path) -> None:
    """Load the weights of a file into a model of the same architecture. Raises ConfigError if they do not fit."""
    try:
        load_exact(model, read_weights(file))
    except ValueError as error:
        raise ConfigError([Diagnostic(str(file), (), str(error))]) from error


def load_exact(model: nn.Module, state: State) -> None:
    """Load the tensors into the model. Raises ValueError unless names and shapes match exactly.

    Tied tensors may be present under only one of their names.
    """
    wanted = model.state_dict()
    strip_prefixes(state, wanted)
    known = {name: wanted[name] for name in state if name in wanted and not is_lazy(wanted[name])}
    sizes = [f"{name}: {format_shapes(state[name], each)}" for name, each in known.items()]
    check_none(
        "have another shape", [size for size, name in zip(sizes, known, strict=True) if state[name].shape != known[name].shape]
    )
    result = model.load_state_dict(state, strict=False)
    check_none("are missing", [name for name in result.missing_keys if not is_tied(name, state, wanted)])
    check_none("are unknown to the model", result.unexpected_keys)


def read_weights(file: Path) -> State:
    """Read the tensors of a safetensors file or of a torch file, by name. No code in the file is executed.

    Raises ValueError if the file cannot be read, or does not contain tensors by name.
    """
    try:
        found = load_file(file) if file.suffix == ".safetensors" else torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler may raise anything for arbitrary bytes
        first_line = str(error).partition("\n")[0]
        # torch's message suggests `weights_only=False`, which executes code in the file
        reason = "it contains objects that are not tensors" if "weights_only" in first_line else first_line
        raise ValueError(f"cannot be read as weights (safetensors, or a torch file with only tensors): {reason}") from error
    state = next((found[key] for key in KEYS if key in found), found) if isinstance(found, Mapping) else found
    if not isinstance(state, dict) or not all(isinstance(key, str) and isinstance(each, Tensor) for key, each in state.items()):
        raise ValueError("contains no state dict; save the state dict itself, or under the key 'state_dict' or 'model'")
    return state


def load_matching(model: nn.Module, state: State) -> list[str]:
    """Load the tensors that fit the model; return log messages about the others.

    A first convolution for another number of image channels is adapted. Heads, which differ only in the number of outputs, keep
    their fresh initialisation and are removed from `state`. A top-level module (names that are equal up to the first dot) keeps
    its fresh initialisation if it is not in the file, and is skipped if it is not in the model. Raises ValueError for any other
    difference; the model may then be partly loaded and must be discarded.
    """
    wanted = model.state_dict()
    strip_prefixes(state, wanted)
    shared = set(map(top_level_name, state)) & set(map(top_level_name, wanted))
    adapted = adapt_channels(state, wanted, model)
    heads = drop_heads(state, wanted)
    result = model.load_state_dict(state, strict=False)
    missing = [name for name in result.missing_keys if name not in heads and not is_tied(name, state, wanted)]
    check_none("are missing", [name for name in missing if top_level_name(name) in shared])
    check_none("are unknown to the model", [name for name in result.unexpected_keys if top_level_name(name) in shared])
    notes = {
        "are re-initialised: their number of outputs differs": list(heads.values()),
        "are re-initialised: their module is missing in the file": missing,
        "are not used: their module is missing in the model": result.unexpected_keys,
    }
    return adapted + [f"{format_names(names)} {what}" for what, names in notes.items() if names]


def adapt_channels(state: State, wanted: State, model: nn.Module) -> list[str]:
    """Adapt the first convolution in `state` to the number of image channels of the model; return log messages."""
    first = next((f"{name}.weight" for name, each in model.named_modules() if isinstance(each, nn.Conv2d)), "")
    there, here = state.get(first), wanted.get(first)
    if there is None or here is None or there.ndim != here.ndim or there.shape[1] == here.shape[1]:
        return []
    fitted = for_channels(there, here.shape[1])
    if fitted.shape != here.shape:
        return []
    state[first] = fitted
    return [f"{first} ({format_shapes(there, here)}) is adapted to the number of image channels (summed or repeated)"]


def drop_heads(state: State, wanted: State) -> dict[str, str]:
    """Remove heads of another size from `state`; return each name with its description (both shapes).

    Raises ValueError for any other difference in shape, or if no tensor fits the model.
    """
    others = [name for name in state if name in wanted and state[name].shape != wanted[name].shape]
    heads = [name for name in others if state[name].shape[1:] == wanted[name].shape[1:]]
    sizes_of = {name: f"{name} ({format_shapes(state[name], wanted[name])})" for name in others}
    if not state.keys() & wanted.keys() - set(heads):
        raise ValueError(f"fits no tensor of the model: {format_names(state)} in the file, {format_names(wanted)} in the model")
    check_none("have another shape", [] if len(heads) == len(others) else [*sizes_of.values()])
    for name in heads:
        del state[name]
    return sizes_of


def format_shapes(there: Tensor, here: Tensor) -> str:
    return f"{list(there.shape)} in the file, {list(here.shape)} in the model"


def is_tied(name: str, state: State, wanted: State) -> bool:
    """Return whether this is another name of a loaded tensor: safetensors stores a tied tensor under only one of its names."""
    return any(wanted[name].is_set_to(wanted[other]) for other in state if other in wanted)


def strip_prefixes(state: State, wanted: Iterable[str]) -> None:
    """Remove PREFIXES from the names in `state`, in place, unless the names in the model have them too."""
    for prefix in PREFIXES:
        if not any(name.startswith(prefix) for name in wanted):
            consume_prefix_in_state_dict_if_present(state, prefix)


def top_level_name(name: str) -> str:
    """Return the name up to the first dot: `layer1` for `layer1.0.conv1.weight`."""
    return name.partition(".")[0]


def check_none(what: str, names: Sequence[str]) -> None:
    """Raise ValueError if `names` is not empty; `what` describes the problem with these tensors."""
    if names:
        raise ValueError(f"does not fit the model: {format_names(names)} {what}; use the model that these weights are from")


def format_names(names: Collection[str]) -> str:
    """Return the number of names and the first of them: `3 tensors (a, b, ...)`."""
    shown = ", ".join([*itertools.islice(names, N_SHOWN), *["..."] * (len(names) > N_SHOWN)])
    return f"{len(names)} tensor{'s' * (len(names) != 1)} ({shown})"


def for_channels(weight: Tensor, n_channels: int) -> Tensor:
    """Adapt the weights [O, C, H, W] of a first convolution to `n_channels` image channels: [O, n_channels, H, W].

    For one channel, the weights are summed over C: a grayscale image then has the same output as its RGB version. Otherwise the
    channels are repeated in order and scaled by C / n_channels, which keeps the scale of the output. Timm does the same.
    """
    if n_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    channels = weight.shape[1]
    repeated = weight.repeat(1, math.ceil(n_channels / channels), 1, 1)[:, :n_channels]
    return repeated * (channels / n_channels)
