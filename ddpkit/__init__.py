"""ddpkit: distributed training of vision models from one TOML file with one command."""

import importlib
from typing import TYPE_CHECKING, Any

from ddpkit.errors import ConfigError, DdpkitError, ExitCode, PluginError, RankError
from ddpkit.plugins.component import Component
from ddpkit.plugins.hookspecs import hookimpl
from ddpkit.terminal import escape

if TYPE_CHECKING:
    from ddpkit.data.images import open_image
    from ddpkit.distributed.all_reduce import all_gather, all_reduce_sum
    from ddpkit.inference.predictor import load
    from ddpkit.plugins.protocols import TestResult, TestSample
    from ddpkit.plugins.starter import Starter
    from ddpkit.runs.folder import RunResult
    from ddpkit.tasks.runner import run
    from ddpkit.training.pretrained import for_channels
    from ddpkit.training.step_output import StepOutput

__version__ = "0.1.0"

__all__ = [
    "Component",
    "ConfigError",
    "DdpkitError",
    "ExitCode",
    "PluginError",
    "RankError",
    "RunResult",
    "Starter",
    "StepOutput",
    "TestResult",
    "TestSample",
    "all_gather",
    "all_reduce_sum",
    "escape",
    "for_channels",
    "hookimpl",
    "load",
    "open_image",
    "run",
]

_LAZY = {
    "RunResult": "ddpkit.runs.folder",
    "Starter": "ddpkit.plugins.starter",
    "StepOutput": "ddpkit.training.step_output",
    "TestResult": "ddpkit.plugins.protocols",
    "TestSample": "ddpkit.plugins.protocols",
    "all_gather": "ddpkit.distributed.all_reduce",
    "all_reduce_sum": "ddpkit.distributed.all_reduce",
    "for_channels": "ddpkit.training.pretrained",
    "load": "ddpkit.inference.predictor",
    "open_image": "ddpkit.data.images",
    "run": "ddpkit.tasks.runner",
}
"""Public name -> module that defines it. Imported on first use, so that plugins and the command line start fast."""


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
