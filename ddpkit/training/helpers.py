"""Models that are called, but not trained, such as a teacher (`[train.helpers]`)."""

import hashlib
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ddpkit.errors import suggest
from ddpkit.training.precision import Precision


@attrs.frozen
class FrozenModel:
    """Model in evaluation mode, whose parameters require no gradient. It can be called like a function."""

    module: nn.Module
    precision: Precision
    """Number format of the run, with the name of this model."""

    @torch.no_grad()
    def __call__(self, *inputs: Any) -> Any:
        """Return the model's outputs without gradients, in at least float32; inputs and outputs as in `Precision`."""
        return self.precision(self.module, *inputs)

    def digest(self) -> str:
        """Return the SHA-256 of all parameters and buffers, which does not depend on the file that they come from."""
        found = hashlib.sha256()
        for name, value in self.module.state_dict().items():
            if isinstance(value, Tensor):  # a module may add other state
                found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
                found.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()


class Helpers(dict[str, FrozenModel]):
    """Models of `[train.helpers]`, by name."""

    def __missing__(self, name: str) -> FrozenModel:
        """Raise ValueError for a name that is not configured."""
        raise ValueError(f"no helper is called {name!r}, {suggest(str(name), self)}")
