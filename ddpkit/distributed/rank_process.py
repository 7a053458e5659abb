"""What this process is: a rank (of our launcher, torchrun or srun) or the launcher, and whether it prints results."""

import os

REPORTS = "DDPKIT_REPORTS"
"""Environment of our ranks: the folder for their reports."""
LAUNCHER = "DDPKIT_LAUNCHER"
"""Environment of our ranks: the process that started them."""


def is_rank() -> bool:
    """This process is one rank of a run, started by torchrun or by us."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_our_rank() -> bool:
    """This process was started by `start_ranks`; the launcher speaks for it."""
    return REPORTS in os.environ


def is_restarted() -> bool:
    """This rank takes the place of one that failed."""
    return is_rank() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def is_speaker() -> bool:
    """This process prints results: the launcher, or the first rank where somebody else launched."""
    return not is_our_rank() and os.environ.get("RANK", "0") == "0"
