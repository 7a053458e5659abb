"""Loggers of plugins: they see history go by, and no run ends for the sake of one."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddpkit.config import loading
from ddpkit.config.instantiate import Maker
from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError
from ddpkit.plugins.protocols import Logger
from ddpkit.plugins.registry import Registry
from ddpkit.runs.log import LOGGER
from ddpkit.training.callbacks import Row


class GuardedLogger:
    """The watcher that makes a logger, and calls it until it raises."""

    def __init__(self, name: str, make: Callable[[], Logger]) -> None:
        """Raises the ConfigError of one that refuses its parameters."""
        self._name = name
        self._logger: Logger | None = self._guarded(make)

    def train_step_ended(self, epoch: int, step: int, steps: int, loss: Callable[[], float]) -> None:
        """Loggers get history, which is about epochs."""

    def epoch_ended(self, row: Row) -> None:
        """Pass the row on."""
        if self._logger:
            self._guarded(self._logger.epoch_ended, row)

    def close(self) -> None:
        """The run is over."""
        if self._logger:
            self._guarded(self._logger.close)

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - a logger may raise anything
            LOGGER.warning("logger %s is left out from here on: %s: %s", self._name, type(error).__name__, error)
            LOGGER.debug("its traceback", exc_info=True)
            self._logger = None
            return None


def create_loggers(config: Config, registry: Registry, folder: Path) -> list[GuardedLogger]:
    """The loggers that `private.loggers` names, for the run in `folder`; on global rank 0 only."""
    maker, tables = Maker(config, registry), loading.tables(config.run)
    return [
        GuardedLogger(each.name, functools.partial(maker.make, each, folder=folder, config=tables))
        for each in maker.named("logger")
    ]
