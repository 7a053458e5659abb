"""The role of this process: a rank (of our launcher, torchrun or srun) or the launcher, and whether it prints results."""

import os

REPORTS = "DDPKIT_REPORTS"
"""Environment variable of our ranks: the folder for their reports."""
LAUNCHER = "DDPKIT_LAUNCHER"
"""Environment variable of our ranks: the process id of their launcher."""


def is_rank() -> bool:
    """This process is one rank of a run, of any launcher."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_own_rank() -> bool:
    """This process was started by `launch_ranks`; the launcher prints for it."""
    return REPORTS in os.environ


def is_restarted() -> bool:
    """This rank replaces one of a failed attempt."""
    return is_rank() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def is_output_process() -> bool:
    """This process prints results: our launcher, or rank 0 of another one."""
    return not is_own_rank() and os.environ.get("RANK", "0") == "0"
