"""Role of this process: rank (of our launcher, torchrun or srun) or launcher, and whether it prints results."""

import os

REPORTS = "DDPKIT_REPORTS"
"""Environment variable of our ranks: the folder for their reports."""
LAUNCHER = "DDPKIT_LAUNCHER"
"""Environment variable of our ranks: the process id of their launcher."""


def is_rank() -> bool:
    """Return whether this process is a rank, started by any launcher."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_own_rank() -> bool:
    """Return whether our launcher started this process as a rank; then the launcher prints for it."""
    return REPORTS in os.environ


def is_restarted() -> bool:
    """Return whether this rank was restarted after a failed attempt."""
    return is_rank() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def is_output_process() -> bool:
    """Return whether this process prints results: our launcher, a single process, or rank 0 of another launcher."""
    return not is_own_rank() and os.environ.get("RANK", "0") == "0"
