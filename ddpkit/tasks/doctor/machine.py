"""Checks of the operating system: disk, shared memory, limits, cores and text encoding."""

import locale
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ddpkit.distributed.cores import count_cores
from ddpkit.runs.screen.text_table import format_size
from ddpkit.tasks.doctor.finding import Finding, Status

GB = 1e9
DISK_ERROR, DISK_WARNING = 1 * GB, 5 * GB
"""Free space in bytes below which a folder gets this status."""
SHM_ERROR, SHM_WARNING = 0.1 * GB, 1 * GB
"""Size of the shared memory in bytes below which it gets this status. Docker's default is 64 MB."""
FILES_ERROR, FILES_WARNING, FILES_GOOD = 256, 1024, 65536
"""Numbers of open files: the limits for a status, and a good value."""


def check_disk() -> Iterator[Finding]:
    """Measure the free space for the results of runs, and for temporary files."""
    results = next(folder for folder in (Path("runs"), Path()) if folder.is_dir()).resolve()
    for folder, use in ((results, "results"), (Path(tempfile.gettempdir()), "temporary files")):
        yield judge_disk(str(folder), use, shutil.disk_usage(folder).free, can_write=os.access(folder, os.W_OK))


def judge_disk(folder: str, use: str, free: int, *, can_write: bool = True) -> Finding:
    """Return the finding for a folder with `free` bytes."""
    option = "set 'output_dir' to a folder on another disk" if use == "results" else "export TMPDIR=/path/on/another/disk"
    facts = f"{format_size(free, 0)} free for {use} in {folder}"
    if not can_write:
        return Finding("error", f"{folder} for {use} is read-only for this user", f"choose another folder: {option}")
    if free >= DISK_WARNING:
        return Finding("ok", facts)
    return Finding("error" if free < DISK_ERROR else "warning", facts, f"delete files, or {option}")


def check_shared_memory(folder: Path = Path("/dev/shm")) -> Iterator[Finding]:  # noqa: S108 - it is measured, not written
    """Measure the shared memory, through which loader workers send samples."""
    if folder.is_dir():
        yield judge_shared_memory(*shutil.disk_usage(folder))
    else:
        yield Finding("ok", f"this system has no {folder}")


def judge_shared_memory(total: int, _used: int, free: int) -> Finding:
    facts = f"{format_size(total, 0)}, {format_size(free, 0)} free; loader workers send samples through it"
    if total < SHM_WARNING:
        remedy = "in a container: docker run --shm-size=8g (or --ipc=host); else: sudo mount -o remount,size=8G /dev/shm"
        return Finding("error" if total < SHM_ERROR else "warning", facts, remedy)
    if free < SHM_ERROR:
        return Finding("warning", facts, "delete files that ended processes left: ls -l /dev/shm")
    return Finding("ok", facts)


def check_open_files() -> Iterator[Finding]:
    """Read the limit of open files: each sample that a loader worker sends may need one."""
    yield judge_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))


def judge_open_files(soft: int, hard: int) -> Finding:
    infinite = resource.RLIM_INFINITY
    if soft == infinite or soft >= FILES_WARNING:
        return Finding("ok", f"at most {'any number' if soft == infinite else soft}")
    status: Status = "error" if soft < FILES_ERROR else "warning"
    can_raise = hard == infinite or hard >= FILES_WARNING
    goal = FILES_GOOD if hard == infinite else min(hard, FILES_GOOD)
    remedy = f"ulimit -n {goal}" if can_raise else f"ask an administrator for 'nofile {FILES_GOOD}' in /etc/security/limits.conf"
    return Finding(status, f"at most {soft}: loader workers may fail with 'Too many open files'", remedy)


def check_cores() -> Iterator[Finding]:
    """Count the usable cores, and compare them with the quota of the container and with `OMP_NUM_THREADS`."""
    quota = read_quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    yield judge_cores(os.cpu_count() or 1, count_cores(), quota, os.environ)


def judge_cores(n_cores: int, n_usable: int, quota: float | None, environment: Mapping[str, str]) -> Finding:
    """Return the finding for a machine with `n_cores`, of which this process may use `n_usable`, for `quota` cores of time."""
    threads = environment.get("OMP_NUM_THREADS", "")
    limit = n_usable if quota is None else max(1, min(n_usable, int(quota)))
    facts = f"{n_usable} of {n_cores} cores can be used"
    facts += "" if quota is None else f", with the computing time of {quota:g}"
    facts += f"; OMP_NUM_THREADS is {threads or 'not set'}"
    first = threads.partition(",")[0].strip()
    if threads and not (first.isdecimal() and int(first)):
        return Finding("warning", f"{facts}: not a number of threads, so it has no effect", "unset OMP_NUM_THREADS")
    if int(first or n_usable) > limit:
        return Finding("warning", f"{facts}: threads have to wait for each other", f"export OMP_NUM_THREADS={limit}")
    return Finding("ok", facts)


def read_quota(root: Path, own: Path) -> float | None:
    """Return the number of cores whose computing time the cgroup (version 2) of this process may use; None if unlimited.

    Args:
        root: Where the cgroups are mounted.
        own: File with the cgroup of this process, as `/proc/self/cgroup`.
    """
    lines = own.read_text().splitlines() if own.exists() else []
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folders = [root / path, *(root / parent for parent in Path(path).parents)]
    found = [(folder / "cpu.max").read_text().split() for folder in folders if (folder / "cpu.max").exists()]
    return min((int(quota) / int(period) for quota, period in found if quota != "max"), default=None)


def check_encoding() -> Iterator[Finding]:
    """Check that file names and the terminal use UTF-8."""
    yield judge_encoding(sys.getfilesystemencoding(), locale.getencoding())


def judge_encoding(files: str, texts: str) -> Finding:
    facts = f"{files} for file names, {texts} for texts"
    if {name.lower().replace("-", "") for name in (files, texts)} == {"utf8"}:
        return Finding("ok", facts)
    return Finding("warning", f"{facts}: other characters than ASCII may be unreadable", "export LC_ALL=C.UTF-8")
