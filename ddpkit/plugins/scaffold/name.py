"""Rules for the name of a new plugin."""

import importlib.metadata
import importlib.util
import keyword
import re
import sys

from ddpkit.errors import ConfigError, Diagnostic
from ddpkit.plugins import manager

NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")


def package_name(name: str) -> str:
    """Return the name of the Python package, which is also the namespace of the components: `my_plugin` for `my-plugin`."""
    return name.replace("-", "_").lower()


def check_name(name: str) -> None:
    """Raise ConfigError if no distribution, or no Python package, can have this name next to what is installed."""
    if problem := find_problem(name):
        raise ConfigError([Diagnostic("NAME", (), f"{problem}; choose another name, for example 'my-plugin'")])


def find_problem(name: str) -> str:
    """Return why a name cannot be used; empty if it can."""
    package = package_name(name)
    if not NAME.fullmatch(name):
        return f"{name!r} must start with a letter and contain only letters, digits and single '-' between them"
    if keyword.iskeyword(package):
        return f"{package!r} is a keyword of Python, so the package could not be imported"
    if package in sys.stdlib_module_names:
        return f"{package!r} is a module of Python's standard library"
    owners = {each.namespace: f"{each.distribution} {each.version}" for each in manager.list_installed()}
    if package in owners:
        return f"the namespace {package!r} belongs to the installed plugin {owners[package]}"
    return f"a package called {name!r} is installed already" if is_installed(name) else ""


def is_installed(name: str) -> bool:
    """Return whether a distribution has this name, or a module its import name. A folder without `__init__.py` does not count."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        found = importlib.util.find_spec(package_name(name))
        return found is not None and found.origin is not None
    return True
