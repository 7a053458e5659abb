"""The checks of `ddpkit doctor`, in the order of their time. A check that fails is a finding: it never stops the others."""

import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from ddpkit.errors import RunStopped
from ddpkit.plugins.policy import Policy
from ddpkit.tasks.doctor import all_reduce, devices, machine, packages
from ddpkit.tasks.doctor.finding import Finding

Check = Callable[[], Iterator[Finding]]
TORCH = "torch"
NEED_TORCH = ("torchvision", "gpus", "backends", "all-reduce")
"""Checks that are left out if torch cannot be imported."""


def list_checks(policy: Policy) -> Mapping[str, Check]:
    """Return the checks by name. The plugins come before torch, so that those that import torch are noticed."""
    return {
        "python": packages.check_python,
        "packages": packages.check_packages,
        "plugins": partial(packages.check_plugins, policy),
        "disk": machine.check_disk,
        "shared memory": machine.check_shared_memory,
        "open files": machine.check_open_files,
        "cores": machine.check_cores,
        "encoding": machine.check_encoding,
        TORCH: packages.check_torch,
        "torchvision": packages.check_torchvision,
        "gpus": devices.check_gpus,
        "backends": devices.check_backends,
        "all-reduce": all_reduce.check_all_reduce,
    }


def run_checks(checks: Mapping[str, Check]) -> Iterator[tuple[str, Finding]]:
    """Yield the name of each check with its findings, as soon as they are known."""
    has_torch = True
    for name, check in checks.items():
        if name in NEED_TORCH and not has_torch:
            yield name, Finding("warning", "not checked, because torch cannot be used", "see the remedy for torch")
            continue
        for finding in run_check(check):
            has_torch = has_torch and not (name == TORCH and finding.status == "error")
            yield name, finding


def run_check(check: Check) -> Iterator[Finding]:
    """Yield the findings of a check, and its exception as an error."""
    try:
        yield from check()
    except RunStopped:
        raise
    except Exception as error:  # noqa: BLE001 - the other checks must still run
        facts = f"the check failed: {type(error).__name__}: {error}"
        yield Finding("error", facts, "report this with the output of 'ddpkit doctor --json'", traceback.format_exc())
