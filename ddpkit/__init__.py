"""ddpkit: one TOML file, one command, a correct distributed training run."""

import importlib
from typing import TYPE_CHECKING, Any

from ddpkit.errors import ConfigError, DdpkitError, ExitCode, PluginError, RankError
from ddpkit.hookspecs import Component, hookimpl

if TYPE_CHECKING:
    from ddpkit.channels import for_channels
    from ddpkit.images import open_image
    from ddpkit.predictor import load
    from ddpkit.run import run
    from ddpkit.run_folder import RunResult

__version__ = "0.1.0"

__all__ = [
    "Component",
    "ConfigError",
    "DdpkitError",
    "ExitCode",
    "PluginError",
    "RankError",
    "RunResult",
    "for_channels",
    "hookimpl",
    "load",
    "open_image",
    "run",
]

ELSEWHERE = {
    "RunResult": "ddpkit.run_folder",
    "for_channels": "ddpkit.channels",
    "load": "ddpkit.predictor",
    "open_image": "ddpkit.images",
}


def __getattr__(name: str) -> Any:
    """What only runs need is imported when it is asked for, so that plugins and the command line start at once."""
    if name == "run":
        return importlib.import_module("ddpkit.run")  # callable, see there
    if name in ELSEWHERE:
        return getattr(importlib.import_module(ELSEWHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
