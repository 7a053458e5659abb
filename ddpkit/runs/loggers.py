"""Loggers of plugins: they receive each row of the history. A failing logger never ends a run."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddpkit.config import loading
from ddpkit.config.instantiate import ComponentFactory
from ddpkit.config.loading import Config
from ddpkit.config.requirements import REQUIREMENTS
from ddpkit.errors import ConfigError
from ddpkit.plugins.protocols import Logger, TestResult
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

    def on_test_end(self, result: TestResult) -> None:
        """Pass the result of the test to the logger, if it has this method."""
        if method := getattr(self._logger, "on_test_end", None):
            self._guarded(method, result)

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
    """Raise ConfigError for a logger whose class lacks a method. Call it before the run folder is created."""
    factory = ComponentFactory(config, registry)
    for reference in factory.refs_of("logger"):
        target = import_target(factory.component_of(reference).target)
        if inspect.isclass(target) and not (hasattr(target, "on_epoch_end") and hasattr(target, "close")):
            raise factory.wrong_object(reference, f"its class lacks a method; it must be {REQUIREMENTS['logger'].text}")


def create_loggers(config: Config, registry: Registry, folder: Path) -> list[GuardedLogger]:
    """Create the loggers of `private.loggers` for the run in `folder`. Only global rank 0 calls it."""
    factory, tables = ComponentFactory(config, registry), loading.to_tables(config.run)

    return [
        GuardedLogger(each.name, functools.partial(factory.create, each, folder=folder, config=tables))
        for each in factory.refs_of("logger")
    ]
