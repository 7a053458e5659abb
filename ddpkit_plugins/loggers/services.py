"""Packages of services, which only a run with their logger needs."""

import importlib
from typing import Any


def import_service(name: str) -> Any:
    """Import the package of a service. The extra of ddpkit that installs it has the same name.

    Raises:
        ModuleNotFoundError: The package is not installed; the message contains the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; install it with: pip install 'ddpkit[{name}]'") from error
