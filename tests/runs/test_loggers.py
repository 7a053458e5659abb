"""Loggers of plugins are called until they fail."""

import pytest

from ddpkit import TestResult
from ddpkit.errors import ConfigError
from ddpkit.runs.loggers import GuardedLogger


class Minimal:
    """A logger with the required methods only."""

    def __init__(self):
        self.calls = []

    def on_epoch_end(self, row):
        self.calls.append(row["epoch"])

    def close(self):
        self.calls.append("closed")


class Complete(Minimal):
    """A logger that also records the test, and fails at a loss of 0."""

    def on_test_end(self, result):
        self.calls.append(1 / result.metrics["loss"])


def call_all(logger, loss):
    """What a guarded logger was called with: an epoch, a test, the end."""
    guarded = GuardedLogger("mine", lambda: logger)
    guarded.on_epoch_end({"epoch": 1})
    guarded.on_test_end(TestResult(epoch=1, metrics={"loss": loss}))
    guarded.close()
    return logger.calls


def test_a_logger_may_record_the_test():
    assert call_all(Complete(), loss=0.5) == [1, 2.0, "closed"]
    assert call_all(Minimal(), loss=0.5) == [1, "closed"]


def test_a_logger_that_fails_at_the_test_is_disabled(caplog):
    assert call_all(Complete(), loss=0) == [1]

    assert caplog.messages == ["logger mine failed and is disabled for the rest of the run: ZeroDivisionError: division by zero"]


def test_a_logger_that_was_not_created_is_never_called(caplog):
    def fail():
        raise RuntimeError("no server")

    guarded = GuardedLogger("mine", fail)
    guarded.on_epoch_end({"epoch": 1})
    guarded.on_test_end(TestResult(epoch=1, metrics={}))
    guarded.close()

    assert len(caplog.messages) == 1


def test_a_mistake_in_parameters_is_not_hidden():
    def fail():
        raise ConfigError([])

    with pytest.raises(ConfigError):
        GuardedLogger("mine", fail)
