"""Loggers of plugins: they receive each row of the history. A failing logger never ends a run."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddpkit.config import loading
from ddpkit.config.component_refs import ComponentRef
from ddpkit.config.instantiate import ComponentFactory
from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError
from ddpkit.plugins.protocols import Logger
from ddpkit.plugins.registry import Registry
from ddpkit.plugins.signatures import import_target
from ddpkit.runs.log import LOGGER
from ddpkit.training.callbacks import Callback, Row


class GuardedLogger(Callback):
    """Callback that creates a logger and calls it, until the logger raises an exception."""

    def __init__(self, name: str, make: Callable[[], Logger]) -> None:
        """Create the logger. Raise ConfigError if it rejects its parameters."""
        self._name = name
        self._logger: Logger | None = self._guarded(make)

    def on_epoch_end(self, row: Row) -> None:
        if self._logger:
            self._guarded(self._logger.on_epoch_end, row)

    def close(self) -> None:
        if self._logger:
            self._guarded(self._logger.close)

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - a logger may raise anything
            LOGGER.warning(
                "logger %s failed and is disabled for the rest of the run: %s: %s", self._name, type(error).__name__, error
            )
            LOGGER.debug("traceback of the failed logger", exc_info=True)
            self._logger = None
            return None


def check_loggers(config: Config, registry: Registry) -> None:
    """Raise ConfigError for loggers that still use the old method name. Call it before the run folder is created."""
    factory = ComponentFactory(config, registry)
    for reference in factory.refs_of("logger"):
        check_logger(config, reference, import_target(factory.component_of(reference).target))


def check_logger(config: Config, reference: ComponentRef, logger: object) -> None:
    """Raise ConfigError for a logger, or its class, that has `epoch_ended` and not `on_epoch_end`."""
    if hasattr(logger, "epoch_ended") and not hasattr(logger, "on_epoch_end"):
        message = f"the method 'epoch_ended' of logger {reference.name!r} is now called 'on_epoch_end'; rename it in the plugin"
        raise ConfigError([config.problem(reference.path, message)])


def create_loggers(config: Config, registry: Registry, folder: Path) -> list[GuardedLogger]:
    """Create the loggers of `private.loggers` for the run in `folder`. Only global rank 0 calls it."""
    factory, tables = ComponentFactory(config, registry), loading.to_tables(config.run)

    def create(reference: ComponentRef) -> Logger:
        logger: Logger = factory.create(reference, folder=folder, config=tables)
        check_logger(config, reference, logger)
        return logger

    return [GuardedLogger(each.name, functools.partial(create, each)) for each in factory.refs_of("logger")]
