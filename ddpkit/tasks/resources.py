"""How many ranks a run has, and whether this machine has the devices for them."""

import os

from ddpkit.config import schema
from ddpkit.config.loading import Config
from ddpkit.distributed.rank_process import is_rank
from ddpkit.errors import ConfigError


def n_ranks(config: Config, nproc: int | None = None) -> int:
    """How many ranks the run has: the environment's under torchrun, else `nproc`, else the config's.

    Raises ConfigError when several are asked for and the config says one.
    """
    ddp = config.run.ddp
    asked = int(os.environ["WORLD_SIZE"]) if is_rank() else nproc
    if asked is not None:
        if asked > 1 and not ddp.enabled:
            raise ConfigError([config.problem(("ddp", "enabled"), f"is false, but {asked} ranks are asked for")])
        return asked
    if not ddp.enabled:
        return 1
    return ddp.nproc if isinstance(ddp.nproc, int) else visible_gpus(config.run)


def local_ranks(n_ranks: int) -> int:
    """How many of the ranks are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(n_ranks)))


def visible_gpus(run: schema.Run) -> int:
    """Ranks for `nproc = "auto"`: one a GPU, or one."""
    if run.device == "cpu" or ":" in run.device:
        return 1
    import torch  # noqa: PLC0415 - the config side stays free of torch until it is needed

    return max(torch.cuda.device_count(), 1)


def refuse_device(config: Config, n_ranks: int) -> None:
    """Raise ConfigError when this machine lacks the device that the config asks for."""
    device, backend = config.run.device, config.run.ddp.backend
    if device in ("auto", "cpu") and backend != "nccl":
        return
    from ddpkit.distributed import world  # noqa: PLC0415 - torch is for ranks, and for who asks for CUDA

    try:
        world.choose_device("cuda" if backend == "nccl" and device == "auto" else device, 0, local_ranks(n_ranks))
    except ValueError as error:
        raise ConfigError([config.problem(("device",), str(error))]) from error
