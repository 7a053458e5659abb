"""An optimizer's state by the names of parameters: order and number of them may change without a mix-up."""

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer


def named_state(optimizer: Optimizer, model: nn.Module) -> dict[str, Any]:
    """`state`: what is kept of each parameter, under its name. `groups`: their options, and the `names` in them."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    groups = [{**group, "params": [names[each] for each in group["params"]]} for group in optimizer.param_groups]
    return {"state": {names[each]: dict(values) for each, values in optimizer.state.items()}, "groups": groups}


def load_named_state(optimizer: Optimizer, model: nn.Module, saved: dict[str, Any], *, options: bool = True) -> None:
    """Put back what `named_state` gave. Raises ValueError when the parameters are others, or in other groups.

    `options`: of the groups too (rates, decay, ...); else those of now stay.
    """
    now = named_state(optimizer, model)["groups"]
    for number, (mine, theirs) in enumerate(zip(now, saved["groups"], strict=True)):
        if different := set(mine["params"]) ^ set(theirs["params"]):
            raise ValueError(f"group {number} of the optimizer had other parameters: {', '.join(sorted(different)[:3])}")
    places = {name: place for place, name in enumerate(name for group in now for name in group["params"])}
    groups = [
        {**(theirs if options else mine), "params": [places[name] for name in mine["params"]]}
        for mine, theirs in zip(now, saved["groups"], strict=True)
    ]
    state = {places[name]: values for name, values in saved["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": groups})
