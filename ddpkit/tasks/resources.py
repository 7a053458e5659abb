"""Number of ranks of a run, and a check that this machine has the devices for them."""

import os

from ddpkit.config.check import ranks_in_file
from ddpkit.config.loading import Config
from ddpkit.distributed.rank_process import is_rank
from ddpkit.errors import ConfigError


def count_ranks(config: Config, nproc: int | None = None) -> int:
    """Return the number of ranks of a run; it imports torch if the number depends on the GPUs. See `known_ranks`."""
    return known_ranks(config, nproc) or count_gpus()


def known_ranks(config: Config, nproc: int | None = None) -> int | None:
    """Return the number of ranks: from the environment under torchrun, otherwise `nproc`, otherwise from the config.

    Return None if it depends on the GPUs of this machine. Raise ConfigError if several ranks are requested but `ddp.enabled` is
    false.
    """
    ddp = config.run.ddp
    asked = int(os.environ["WORLD_SIZE"]) if is_rank() else nproc
    if asked is not None:
        if asked > 1 and not ddp.enabled:
            message = f"must be true for {asked} ranks; set 'ddp.enabled = true', or use one rank"
            raise ConfigError([config.problem(("ddp", "enabled"), message)])
        return asked
    return ranks_in_file(config.run)


def count_local_ranks(n_ranks: int) -> int:
    """Return how many of the ranks run on this machine; all of them without torchrun."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(n_ranks)))


def count_gpus() -> int:
    """Return the number of ranks for `nproc = "auto"`: one per GPU, at least one."""
    import torch  # noqa: PLC0415 - torch is imported only if it is needed

    return max(torch.cuda.device_count(), 1)


def check_device(config: Config, n_ranks: int) -> None:
    """Raise ConfigError if this machine lacks the device that the config requests."""
    device, backend = config.run.device, config.run.ddp.backend
    if device in ("auto", "cpu") and backend != "nccl":
        return
    from ddpkit.distributed import world  # noqa: PLC0415 - torch is imported only if CUDA is requested

    try:
        world.choose_device("cuda" if backend == "nccl" and device == "auto" else device, 0, count_local_ranks(n_ranks))
    except ValueError as error:
        raise ConfigError([config.problem(("device",), str(error))]) from error
