"""The launcher's signal handlers: what they forward, and what remains of them and of torch's agent afterwards."""

import importlib
import logging
import os
import signal

import pytest
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, start_processes

from ddpkit.distributed import launcher, signal_forwarding
from ddpkit.distributed.launcher import AGENT_LOGGERS, AGENT_SIGNALS, AGENT_VARIABLE, restore_signal_handlers, run_ranks
from ddpkit.distributed.rank_process import LAUNCHER, REPORTS
from ddpkit.distributed.signal_forwarding import FORWARDED, SignalForwarder, TerminatedError, patch_agent_handler
from ddpkit.errors import STOPS, ExitCode, RunStopped


def start_agent(folder):
    """Do what torch's agent does when it starts ranks, but with no ranks."""
    start_processes("no ranks", "true", {}, {}, DefaultLogsSpecs(log_dir=str(folder))).close()


def test_torchs_agent_installs_its_private_handler_and_takes_ours_in_its_place(tmp_path):
    """If this fails, torch changed a private function: see the comment in `patch_agent_handler`."""
    received = []
    with restore_signal_handlers():
        with patch_agent_handler(lambda number, _frame: received.append(number)):
            start_agent(tmp_path)
        installed = {number: signal.getsignal(number) for number in AGENT_SIGNALS}

    assert len(set(installed.values())) == 1
    for number in STOPS:
        installed[number](number, None)
    assert received == list(STOPS)
    for number in set(AGENT_SIGNALS) - set(STOPS):
        with pytest.raises(SignalException):  # torch's own function, called with a signal and a frame
            installed[number](number, None)


def raise_an_error(*_):
    raise RuntimeError("an error of ours")


def test_torchs_private_handler_is_restored_after_an_error(tmp_path):
    api = importlib.import_module("torch.distributed.elastic.multiprocessing.api")
    original = api._terminate_process_handler
    with pytest.raises(RuntimeError), patch_agent_handler(print):
        raise_an_error()

    with restore_signal_handlers():
        start_agent(tmp_path)
        assert signal.getsignal(signal.SIGTERM) is original


def process_state():
    """Signal handlers, environment variables, and which loggers of torch's agent are disabled."""
    importlib.import_module("torch.distributed.launcher.api")
    loggers = {name: logger for name, logger in logging.root.manager.loggerDict.items() if name.startswith(AGENT_LOGGERS)}
    disabled = {name: logger.disabled for name, logger in loggers.items() if isinstance(logger, logging.Logger)}
    return {number: signal.getsignal(number) for number in signal.Signals}, dict(os.environ), disabled


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (RuntimeError("an error of ours"), RuntimeError, "an error of ours"),
        (TerminatedError(signal.SIGTERM, "here"), RunStopped, "stopped by SIGTERM here"),
    ],
)
def test_an_error_of_the_agent_leaves_handlers_variables_and_loggers_as_they_were(
    monkeypatch, tmp_path, error, expected, message
):
    def agent(*_arguments):
        start_agent(tmp_path)
        os.environ[AGENT_VARIABLE] = "SIGTERM"
        states.append(process_state())
        raise error

    monkeypatch.setattr(launcher, "create_agent", lambda *_: agent)
    monkeypatch.delenv(AGENT_VARIABLE, raising=False)
    states = [process_state()]

    with pytest.raises(expected, match=message):
        run_ranks(2, ["run"])

    (handlers, variables, disabled), (handlers_inside, variables_inside, disabled_inside) = states
    assert process_state() == (handlers, variables, disabled)
    assert {number for number in handlers if handlers_inside[number] != handlers[number]} == {*AGENT_SIGNALS, *FORWARDED}
    assert set(variables_inside) - set(variables) == {REPORTS, LAUNCHER, AGENT_VARIABLE}
    assert not all(disabled.values())
    assert all(disabled_inside.values())


def test_signals_go_to_rank_0_and_a_second_stop_or_no_listener_ends_the_launcher(monkeypatch, tmp_path):
    sent = []
    monkeypatch.setattr(os, "kill", lambda process, number: sent.append((process, number)))
    forwarder = SignalForwarder(tmp_path)

    forwarder.on_signal(signal.SIGUSR1, None)
    with pytest.raises(TerminatedError, match="stopped by SIGTERM before or after training"):
        forwarder.on_signal(signal.SIGTERM, None)
    assert sent == []

    (tmp_path / signal_forwarding.LISTENER_FILE).write_text("4007")
    forwarder.on_signal(signal.SIGUSR1, None)
    assert forwarder.kill_timer is None
    forwarder.on_signal(signal.SIGTERM, None)
    assert sent == [(4007, signal.SIGUSR1), (4007, signal.SIGUSR2)]
    assert forwarder.kill_timer.is_alive()

    forwarder.on_signal(signal.SIGUSR1, None)
    with pytest.raises(TerminatedError, match="stopped by SIGINT immediately") as raised:
        forwarder.on_signal(signal.SIGINT, None)
    assert raised.value.to_run_stopped().exit_code == ExitCode.INTERRUPTED
    assert len(sent) == 2
    forwarder.close()
    forwarder.kill_timer.join(5)
    assert len(sent) == 2


def test_ranks_that_do_not_end_in_time_are_ended(monkeypatch, tmp_path):
    sent = []
    monkeypatch.setattr(os, "kill", lambda process, number: sent.append((process, number)))
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "0.01")
    (tmp_path / signal_forwarding.LISTENER_FILE).write_text("4007")
    forwarder = SignalForwarder(tmp_path)

    forwarder.on_signal(signal.SIGINT, None)
    forwarder.kill_timer.join(5)

    assert sent == [(4007, signal.SIGINT), (os.getpid(), signal.SIGINT)]
