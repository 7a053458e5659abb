"""ddpkit: one TOML file, one command, a correct distributed training run."""

from ddpkit.errors import ConfigError, DdpkitError, ExitCode, PluginError, RankError
from ddpkit.hookspecs import Component, hookimpl
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
    "hookimpl",
    "run",
]
