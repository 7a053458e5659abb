"""A run logs to the logger `ddpkit`, and restores it afterwards."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import torch

from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.runs import log


def test_the_logging_of_the_host_program_is_restored(blobs):
    host = logging.NullHandler()
    log.LOGGER.addHandler(host)
    before = (log.LOGGER.level, log.LOGGER.propagate, list(log.LOGGER.handlers))

    with log.log_messages(loading.load(blobs).run, is_main=True):
        assert len(log.LOGGER.handlers) > len(before[2])

    assert (log.LOGGER.level, log.LOGGER.propagate, log.LOGGER.handlers) == before
    log.LOGGER.removeHandler(host)


def test_log_keys_control_level_file_and_format(blobs, capsys):
    keys = {
        "ddp.log_level": "WARNING",
        "private.log.log_file_format": "log of %Y",
        "private.log.log_format": "%(levelname)s: %(message)s",
        "run_id": "a",
    }
    assert main(["run", blobs.name, *sets({"classes": ["left"], **keys})]) == 0
    (file,) = Path("runs/blobs/a/logs").iterdir()
    assert re.fullmatch(r"log of 20\d\d\.log", file.name)
    assert file.read_text().startswith(
        "WARNING: --set 1: classes: the number of class names is 1, but "
    )  # before the file existed
    assert "INFO" not in file.read_text()
    assert "1/2 " not in capsys.readouterr().err

    keys |= {"ddp.log_level": "INFO", "private.log.verbose": False, "run_id": "b"}
    assert main(["run", blobs.name, *sets(keys)]) == 0
    assert "\nINFO: 1/2 " in next(Path("runs/blobs/b/logs").iterdir()).read_text()
    assert "1/2 " not in capsys.readouterr().err


def test_any_log_call_of_a_plugin_is_safe(blobs, capsys):
    with log.log_messages(loading.load(blobs).run, is_main=True):
        logger = logging.getLogger("ddpkit.plugin")
        logger.info("norm %.1f of %d, %.1f", np.float32(1.5), np.int64(3), torch.tensor(2.5))
        logger.info("%(name)s and %(other)s", {"name": "a\nb", "other": 1})
        logger.info("%s", "a\x1b[2J\nforged")
        logger.info("%d", "not a number")

    err = capsys.readouterr().err
    assert err.splitlines()[:3] == ["norm 1.5 of 3, 2.5", r"a\nb and 1", r"a\u001b[2J\nforged"]
    assert "--- Logging error ---" in err


def sets(keys):
    """Options with values in JSON, which is valid TOML here."""
    return [part for key, value in keys.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def test_debug_mode_shows_the_traceback_of_an_error(blobs, capsys):
    blobs.write_text(blobs.read_text().replace("momentum = 0.9", "momentum = -0.9"))

    assert main(["run", blobs.name, "--set", "private.log.debug=true"]) == 2

    assert "Traceback" in capsys.readouterr().err
