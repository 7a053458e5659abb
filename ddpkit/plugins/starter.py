"""What a dataset knows about a user's data: the config with which `ddpkit init` starts."""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, Protocol

import attrs


@attrs.frozen(kw_only=True)
class Starter:
    """Config for data that a dataset recognises, see `Component.starter`.

    `config` and `found` are templates:

    - `$name` stands for the entry `name` of `values`. A line that contains a value None is left out.
    - A comment or line `English | Chinese` is written in the language of the user.

    Raises LookupError if a value is missing.
    """

    config: str
    """TOML with comments: all tables, and the top-level keys except `output_dir`, `task`, `device` and `seed`."""
    found: str
    """What was found in the data, for the terminal: one fact per line."""
    values: Mapping[str, Any] = attrs.field(factory=dict)
    """Values of both templates: anything that TOML can contain, or None."""

    def __attrs_post_init__(self) -> None:
        names = {name for template in (self.config, self.found) for name in Template(template).get_identifiers()}
        if missing := sorted(names - self.values.keys()):
            raise LookupError(f"the templates contain ${', $'.join(missing)}, but the values are {sorted(self.values)}")


class StarterFunction(Protocol):
    """Function that `Component.starter` names."""

    def __call__(self, path: Path) -> Starter | None:
        """Return the config for a file or folder; None if the dataset does not read such data.

        Raises ValueError, with a message that says what to change, for data that the dataset reads but that has a mistake. Must
        not import torch, and must read a bounded number of samples, because users wait for it.
        """
