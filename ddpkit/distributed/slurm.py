"""Ranks that srun started: its variables in the words of torchrun, which the rest of ddpkit reads."""

import re
from collections.abc import Mapping

FIRST_PORT = 20000
"""The ranks of a job step meet at a port that its number chooses from here on; `MASTER_PORT` wins."""
N_PORTS = 10000


def torchrun_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """`RANK` and its like from those of a job step of several tasks.

    Nothing for any other process: an sbatch script has SLURM's variables too, but is no job step.
    """
    size = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if size == "1" or "RANK" in environment:
        return {}
    nodes, job = environment["SLURM_STEP_NODELIST"], int(environment["SLURM_JOB_ID"]) + int(environment["SLURM_STEP_ID"])
    found = {"MASTER_ADDR": first_host(nodes), "MASTER_PORT": str(FIRST_PORT + job % N_PORTS)}
    place = {"RANK": environment["SLURM_PROCID"], "WORLD_SIZE": size, **place_on_node(environment)}
    return place | {name: environment.get(name, value) for name, value in found.items()}


def place_on_node(environment: Mapping[str, str]) -> dict[str, str]:
    """This task among those that see the same GPUs and cores: alone, where SLURM gave each task GPUs of its own."""
    if "SLURM_GPUS_PER_TASK" in environment:
        return {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    counts = tasks_of_nodes(environment["SLURM_STEP_TASKS_PER_NODE"])
    return {"LOCAL_RANK": environment["SLURM_LOCALID"], "LOCAL_WORLD_SIZE": str(counts[int(environment["SLURM_NODEID"])])}


def tasks_of_nodes(counts: str) -> list[int]:
    """`2(x3),1` -> 2, 2, 2, 1."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", counts)
    return [int(count) for count, times in found for _ in range(int(times or 1))]


def first_host(nodes: str) -> str:
    """`gpu[03-05,9],login1` -> `gpu03`."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", first[0] if first else nodes)
