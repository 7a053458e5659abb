"""Checks of GPUs and of the backends for the communication between ranks."""

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from ddpkit.runs.screen.text_table import format_size
from ddpkit.tasks.doctor.finding import Finding
from ddpkit.tasks.doctor.packages import REINSTALL, gpu_platform

DRIVER = Path("/proc/driver/nvidia/version")
"""File that the NVIDIA driver creates."""


def check_gpus() -> Iterator[Finding]:
    """Compute one value on each GPU. Without a GPU, find out why torch does not see one."""
    import torch  # noqa: PLC0415 - only the checks of devices need torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not n_gpus:
        reason = " ".join(str(caught[0].message).split()) if caught else ""
        yield judge_no_gpu(gpu_platform(), read_driver(DRIVER), os.environ.get("CUDA_VISIBLE_DEVICES"), reason)
    for number in range(n_gpus):
        yield try_gpu(number)


def try_gpu(number: int) -> Finding:
    import torch  # noqa: PLC0415 - only the checks of devices need torch

    found = torch.cuda.get_device_properties(number)
    facts = f"cuda:{number} is {found.name}, {format_size(found.total_memory, 0)}, compute capability {found.major}.{found.minor}"
    try:
        torch.ones(1, device=f"cuda:{number}").add_(1).item()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        remedy = f"look for other processes on the GPU: nvidia-smi; or install a build for it: {REINSTALL}"
        return Finding("error", f"{facts}: cannot compute: {reason}", remedy)
    return Finding("ok", f"{facts}, {format_size(torch.cuda.mem_get_info(number)[0], 0)} free")


def judge_no_gpu(build: str, driver: str, visible: str | None, reason: str) -> Finding:
    """Return the finding for a machine where torch sees no GPU.

    Args:
        build: GPU platform that torch is built for; empty for a build for the CPU.
        driver: Version of the NVIDIA driver; empty without a driver.
        visible: `CUDA_VISIBLE_DEVICES`, if it is set.
        reason: Torch's own warning.
    """
    if not driver:
        return Finding("ok", "no NVIDIA driver found; runs use the CPU")
    if visible is not None:
        return Finding("warning", f"CUDA_VISIBLE_DEVICES={visible} selects no GPU of this machine", "unset CUDA_VISIBLE_DEVICES")
    if not build:
        facts = f"this machine has the NVIDIA driver {driver}, but torch is built for the CPU only"
        return Finding("warning", facts, f"{REINSTALL} --index-url https://pypi.org/simple")
    facts = f"torch is built for {build} and finds no GPU with the NVIDIA driver {driver}{f': {reason}' * bool(reason)}"
    return Finding("warning", facts, "see if the driver works: nvidia-smi; in a container: docker run --gpus all")


def read_driver(file: Path) -> str:
    """Return the version of the NVIDIA driver; empty if there is none."""
    text = file.read_text() if file.exists() else ""
    found = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return found[0] if found else ""


def check_backends() -> Iterator[Finding]:
    """Check that torch has the backends for ranks on the CPU (gloo) and on GPUs (nccl)."""
    import torch  # noqa: PLC0415 - only the checks of devices need torch
    import torch.distributed  # noqa: PLC0415

    is_built = torch.distributed.is_available()
    has_gloo = is_built and torch.distributed.is_gloo_available()
    has_nccl = is_built and torch.distributed.is_nccl_available()
    yield judge_backends(has_gloo=has_gloo, has_nccl=has_nccl, n_gpus=torch.cuda.device_count())


def judge_backends(*, has_gloo: bool, has_nccl: bool, n_gpus: int) -> Finding:
    has = {"gloo": has_gloo, "nccl": has_nccl}
    facts = "; ".join(f"{name} is {'available' if available else 'not available'}" for name, available in has.items())
    if has_gloo and (has_nccl or not n_gpus):
        return Finding("ok", facts)
    missing = "the CPU" if not has_gloo else "GPUs"
    return Finding("error", f"{facts}: several ranks cannot run on {missing}", REINSTALL)
