"""Ranks started by srun: translate SLURM's variables to those of torchrun, which the rest of ddpkit reads."""

import re
from collections.abc import Mapping

FIRST_PORT = 20000
"""First of `N_PORTS` ports. The ids of job and job step select one of them for the rendezvous; `MASTER_PORT` overrides it."""
N_PORTS = 10000


def torchrun_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `RANK` and torchrun's other variables for a task of a job step with several tasks.

    Returns {} for any other process: an sbatch script has SLURM's variables too, but is not a job step. Returns {} also if
    `RANK` is set already.
    """
    size = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if size == "1" or "RANK" in environment:
        return {}
    nodes, job = environment["SLURM_STEP_NODELIST"], int(environment["SLURM_JOB_ID"]) + int(environment["SLURM_STEP_ID"])
    found = {"MASTER_ADDR": first_host(nodes), "MASTER_PORT": str(FIRST_PORT + job % N_PORTS)}
    place = {"RANK": environment["SLURM_PROCID"], "WORLD_SIZE": size, **local_rank_variables(environment)}
    return place | {name: environment.get(name, value) for name, value in found.items()}


def local_rank_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return local rank and local world size, counted among the tasks that see the same GPUs and cores."""
    if "SLURM_GPUS_PER_TASK" in environment:
        # SLURM assigned GPUs to each task: this task does not see those of other tasks.
        return {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    counts = tasks_per_node(environment["SLURM_STEP_TASKS_PER_NODE"])
    return {"LOCAL_RANK": environment["SLURM_LOCALID"], "LOCAL_WORLD_SIZE": str(counts[int(environment["SLURM_NODEID"])])}


def tasks_per_node(counts: str) -> list[int]:
    """Expand SLURM's notation: `2(x3),1` -> [2, 2, 2, 1]."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", counts)
    return [int(count) for count, times in found for _ in range(int(times or 1))]


def first_host(nodes: str) -> str:
    """Return the first host of SLURM's node list: `gpu[03-05,9],login1` -> `gpu03`."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", first[0] if first else nodes)
