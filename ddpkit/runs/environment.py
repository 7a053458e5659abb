"""Environment of a run, in addition to its config: package versions, machine, git commit, device and ranks."""

import platform
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddpkit.distributed.world import World


def collect_versions() -> dict[str, Any]:
    """Return the versions of Python and packages, the platform, the command line and the git commit."""
    packages = ("ddpkit", "torch", "torchvision", "torchmetrics", "numpy", "pillow", "safetensors")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "command": sys.argv,
        "packages": {name: version(name) for name in packages},
        "git_commit": git_commit(),
    }


def git_commit() -> str | None:
    """Return the commit of the repository in the current folder; None outside a repository or without git."""
    try:
        done = subprocess.run(["git", "rev-parse", "--verify", "--quiet", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    except OSError:
        return None
    return done.stdout.strip() or None


def device_environment(world: "World", limit_batches: int | None) -> dict[str, Any]:
    """Return device, number of ranks, threads and `limit_batches`, for `environment.json`."""
    return {"device": str(world.device), "ranks": world.size, "threads": world.threads, "limit_batches": limit_batches}
