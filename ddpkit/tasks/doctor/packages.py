"""Checks of Python, the packages that ddpkit needs, and the plugins."""

import importlib
import importlib.metadata
import platform
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ddpkit.plugins import manager
from ddpkit.plugins.manager import Plugin
from ddpkit.plugins.policy import Policy
from ddpkit.tasks.doctor.finding import Finding, Status

SHOWN = ("ddpkit", "torch", "torchvision", "torchmetrics", "numpy")
"""Packages whose versions are shown."""
CHECKED = ("ddpkit", "torchvision")
"""Packages whose requirements are checked; torchvision fits only one version of torch."""
REINSTALL = "pip install --force-reinstall torch torchvision"


def check_python() -> Iterator[Finding]:
    """Compare the version of Python with the range that ddpkit supports."""
    supported = importlib.metadata.metadata("ddpkit")["Requires-Python"]
    facts = f"{platform.python_version()} ({sys.executable})"
    if SpecifierSet(supported).contains(platform.python_version(), prereleases=True):
        yield Finding("ok", facts)
    else:
        yield Finding("error", facts, f"install Python {supported} and create a new environment: python3 -m venv .venv")


def check_packages() -> Iterator[Finding]:
    """Compare the installed versions with the requirements of ddpkit, and torch with the version that torchvision fits."""
    wrong = {
        str(requirement): describe_mismatch(requirement, owner)
        for owner in CHECKED
        for requirement in list_requirements(owner)
        if not is_met(requirement)
    }
    if wrong:
        yield Finding("error", "; ".join(wrong.values()), f"pip install {' '.join(map(shlex.quote, wrong))}")
    else:
        yield Finding("ok", ", ".join(f"{name} {find_version(name)}" for name in SHOWN))


def list_requirements(package: str) -> Iterator[Requirement]:
    """Yield the requirements of an installed package, without those of its extras; nothing if it is not installed."""
    lines = (importlib.metadata.requires(package) or []) if find_version(package) else []
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield Requirement(f"{requirement.name}{requirement.specifier}")


def is_met(requirement: Requirement) -> bool:
    version = find_version(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def describe_mismatch(requirement: Requirement, owner: str) -> str:
    version = find_version(requirement.name)
    found = f"version {version} is installed" if version else "it is not installed"
    return f"{owner} requires {requirement}, but {found}"


def find_version(package: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_torch() -> Iterator[Finding]:
    """Import torch, and exchange an array with numpy."""

    def try_torch() -> str:
        import torch  # noqa: PLC0415 - the import is the check

        torch.from_numpy(torch.zeros(1).numpy())
        return f"torch {torch.__version__}, built for {gpu_platform() or 'the CPU only'}"

    yield try_package(try_torch)


def gpu_platform() -> str:
    """Return the GPU platform that torch is built for, such as `CUDA 13.0`; empty for a build without one."""
    import torch  # noqa: PLC0415 - only the checks of devices need torch

    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else ""


def check_torchvision() -> Iterator[Finding]:
    """Import torchvision, and call one of its compiled operators."""

    def try_operators() -> str:
        import torch  # noqa: PLC0415
        import torchvision  # noqa: PLC0415 - the import is the check

        boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [4, 4, 6, 6]])
        kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist()
        if kept != [0, 2]:
            raise RuntimeError(f"torchvision::nms returned {kept} instead of [0, 2]")
        return f"torchvision {torchvision.__version__}; its operators work"

    yield try_package(try_operators)


def try_package(attempt: Callable[[], str]) -> Finding:
    """Return the facts that `attempt` returns, or an error with its exception: a broken package may raise anything."""
    try:
        return Finding("ok", attempt())
    except Exception as error:  # noqa: BLE001
        facts = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding("error", facts, REINSTALL, "".join(traceback.format_exception(error)))


def check_plugins(policy: Policy) -> Iterator[Finding]:
    """Load all plugins. Yield one finding for those that work, and one for each other plugin or name in the policy."""
    found = manager.load(policy)
    yield Finding("ok", summarise_plugins(found.plugins))
    yield from (judge_plugin(plugin) for plugin in found.plugins if plugin.status != "ok" or plugin.heavy)
    yield from (Finding("warning", text, "correct the name, or remove it") for text in found.warnings)


def summarise_plugins(plugins: Iterable[Plugin]) -> str:
    """Return the numbers of usable plugins and components, and the distributions of third-party plugins."""
    usable = [plugin for plugin in plugins if plugin.status == "ok"]
    others = sorted({f"{plugin.distribution} {plugin.version}" for plugin in usable if plugin.distribution != manager.GROUP})
    n_components = sum(len(plugin.provides) for plugin in usable)
    return f"{len(usable)} plugins with {n_components} components can be used; third-party: {', '.join(others) or 'none'}"


def judge_plugin(plugin: Plugin) -> Finding:
    """Return the finding for a plugin that cannot be used, or that makes every command slow."""
    name, distribution = f"{plugin.name} ({plugin.distribution} {plugin.version})", plugin.distribution
    if plugin.status == "ok":
        remedy = f"import them only in the modules of the components, or block the plugin: -p no:{plugin.name}"
        return Finding("warning", f"{name} imports {', '.join(plugin.heavy)} when it is loaded: every command is slow", remedy)
    remedies: dict[str, tuple[Status, str]] = {
        "blocked": ("ok", ""),
        "broken": ("error", f"pip install --force-reinstall {distribution}"),
        "invalid": ("error", f"report it to the authors of {distribution}, or: pip uninstall {distribution}"),
        "incompatible": ("error", f"pip install --upgrade ddpkit {distribution}"),
        "collision": ("error", f"pip uninstall {distribution}"),
    }
    status, remedy = remedies[plugin.status]
    return Finding(status, f"{name}, {plugin.status}: {plugin.error}", remedy, plugin.traceback)
