"""A plugin that uses an old name of the contract gets an error that names the new one, before anything is written."""

import pytest

from ddpkit.cli.main import main
from tests.helpers.configs import BLOBS

PLUGIN = """\
from ddpkit import Component, hookimpl
from acme.parts import Blobs


@hookimpl
def ddpkit_loggers():
    yield Component("old_notes", "{0}:Notes")
    yield Component("made_notes", "{0}:make_notes")


@hookimpl
def ddpkit_datasets():
    yield Component("old_blobs", "{0}:OldBlobs")


class Notes:
    def epoch_ended(self, row):
        pass

    def close(self):
        pass


def make_notes():
    return Notes()


class OldBlobs(Blobs):
    def __init__(self, n: int = 40):
        super().__init__(n, 7)
        self.parts = vars(self).pop("splits")
"""


@pytest.fixture
def old(blobs, request):
    """A config and a plugin file next to it, which has a module name of its own in each test."""
    module = f"old_{request.node.name}"
    blobs.with_name(f"{module}.py").write_text(PLUGIN.format(module))
    blobs.write_text(BLOBS + f'[plugins]\nfiles = ["{module}.py"]\n')
    return blobs


def test_a_logger_with_the_old_method_name_is_refused(old, capsys):
    assert main(["run", old.name, "--set", "private.loggers=['old_notes']"]) == 2

    assert "--set 1: private.loggers[0].type: logger 'old_notes' (" in (message := capsys.readouterr().err)
    assert "its class lacks a method; it must be an object with the methods on_epoch_end(row), which was called epoch_" in message
    assert not old.with_name("runs").exists()


def test_a_logger_that_a_function_returns_is_refused_too(old, capsys):
    assert main(["run", old.name, "--set", "private.loggers=['made_notes']"]) == 2

    assert "an object of type 'Notes'; it must return an object with the methods on_epoch_end(row)" in capsys.readouterr().err


def test_a_dataset_with_the_old_attribute_name_is_refused(old, capsys):
    assert main(["run", old.name, "--set", "dataset={name='old_blobs',split={train=0.8,valid=0.2}}"]) == 2

    assert "dataset.name: the dataset's attribute 'parts' is now called 'splits'; rename it" in capsys.readouterr().err
    assert not old.with_name("runs").exists()
