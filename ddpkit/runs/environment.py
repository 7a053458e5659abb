"""What a run depends on beside its config: versions of packages, machine, git commit, device and ranks."""

import platform
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddpkit.distributed.world import World


def versions() -> dict[str, Any]:
    """What a run depends on beside its config: versions, machine, git commit."""
    packages = ("ddpkit", "torch", "torchvision", "torchmetrics", "numpy", "pillow", "safetensors")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "command": sys.argv,
        "packages": {name: version(name) for name in packages},
        "git_commit": git_commit(),
    }


def git_commit() -> str | None:
    """Of the folder where the command runs; None outside a repository."""
    try:
        done = subprocess.run(["git", "rev-parse", "--verify", "--quiet", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    except OSError:
        return None
    return done.stdout.strip() or None


def environment_of(world: "World", limit_batches: int | None) -> dict[str, Any]:
    """On what this run trains, for its record."""
    return {"device": str(world.device), "ranks": world.size, "threads": world.threads, "limit_batches": limit_batches}
