"""A run speaks through the logger `ddpkit`, and gives it back as it was."""

import json
import logging
import re
from pathlib import Path

from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.runs import log


def test_the_host_programs_logging_is_left_as_it_was(blobs):
    host = logging.NullHandler()
    log.LOGGER.addHandler(host)
    before = (log.LOGGER.level, log.LOGGER.propagate, list(log.LOGGER.handlers))

    with log.messages(loading.load(blobs).run, is_main=True):
        assert len(log.LOGGER.handlers) > len(before[2])

    assert (log.LOGGER.level, log.LOGGER.propagate, log.LOGGER.handlers) == before
    log.LOGGER.removeHandler(host)


def test_the_keys_say_who_speaks_where_and_how(blobs, capsys):
    keys = {
        "ddp.log_level": "WARNING",
        "private.log.log_file_format": "log of %Y",
        "private.log.log_format": "%(levelname)s: %(message)s",
        "run_id": "a",
    }
    assert main(["run", blobs.name, *sets({"classes": ["left"], **keys})]) == 0
    (file,) = Path("runs/blobs/a/logs").iterdir()
    assert re.fullmatch(r"log of 20\d\d\.log", file.name)
    assert file.read_text() == ""  # what it has to say is said at INFO
    assert "epoch 1/2" not in capsys.readouterr().err

    keys |= {"ddp.log_level": "INFO", "private.log.verbose": False, "run_id": "b"}
    assert main(["run", blobs.name, *sets(keys)]) == 0
    assert "\nINFO: epoch 1/2" in next(Path("runs/blobs/b/logs").iterdir()).read_text()
    assert "epoch 1/2" not in capsys.readouterr().err


def sets(keys):
    """Values as TOML, in JSON's spelling."""
    return [part for key, value in keys.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def test_a_refusal_keeps_its_traceback_for_who_debugs(blobs, capsys):
    blobs.write_text(blobs.read_text().replace("momentum = 0.9", "momentum = -0.9"))

    assert main(["run", blobs.name, "--set", "private.log.debug=true"]) == 2

    assert "Traceback" in capsys.readouterr().err
