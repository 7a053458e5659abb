"""A run speaks through the logger `ddpkit`, and gives it back as it was."""

import logging

from ddpkit import config, log
from ddpkit.cli import main


def test_the_host_programs_logging_is_left_as_it_was(blobs):
    host = logging.NullHandler()
    log.LOGGER.addHandler(host)
    before = (log.LOGGER.level, log.LOGGER.propagate, list(log.LOGGER.handlers))

    with log.messages(config.load(blobs).run, is_main=True):
        assert len(log.LOGGER.handlers) > len(before[2])

    assert (log.LOGGER.level, log.LOGGER.propagate, log.LOGGER.handlers) == before
    log.LOGGER.removeHandler(host)


def test_a_refusal_keeps_its_traceback_for_who_debugs(blobs, capsys):
    blobs.write_text(blobs.read_text().replace("momentum = 0.9", "momentum = -0.9"))

    assert main(["run", blobs.name, "--set", "private.log.debug=true"]) == 2

    assert "Traceback" in capsys.readouterr().err
