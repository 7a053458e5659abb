"""`ddpkit doctor` finds what is wrong with a machine, and says what to do."""

import importlib.metadata
import json
import os
import resource
import sys

import pytest
from jsonschema import validate

from ddpkit import testing
from ddpkit.cli.doctor import exit_code, format_finding, summarise
from ddpkit.plugins.policy import Policy
from ddpkit.tasks.doctor import devices, machine, packages
from ddpkit.tasks.doctor.checks import list_checks, run_checks
from ddpkit.tasks.doctor.finding import Finding

TEXT = {"type": "string"}
FIELDS = {"check": TEXT, "status": {"enum": ["ok", "warning", "error"]}, "facts": TEXT, "remedy": TEXT, "details": TEXT}
SCHEMA = {
    "type": "array",
    "items": {"type": "object", "properties": FIELDS, "required": list(FIELDS), "additionalProperties": False},
}
BROKEN = "def helper():\n    return 1 / 0\n\n\nhelper()\n"


def distribution(folder, name, version, *, module="", requires=""):
    """Create the metadata of an installed distribution, which has the plugin `name` if there is a `module`."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
    (info / "entry_points.txt").write_text(f"[ddpkit]\n{name} = {module}\n" * bool(module))


def doctor(tmp_path, *options, site=None, **env):
    path = os.pathsep.join(filter(None, [str(site or ""), os.environ.get("PYTHONPATH", "")]))
    done = testing.ddpkit("doctor", "--json", *options, cwd=tmp_path, env={"PYTHONPATH": path, **env})
    found = json.loads(done.stdout)
    validate(found, SCHEMA)
    return done.exit_code, found


def of(found, check):
    return [each for each in found if each["check"] == check]


def test_a_broken_plugin_is_the_only_error_of_a_machine(tmp_path):
    distribution(tmp_path / "site", "broken_parts", "0.3", module="broken_parts_plugin")
    (tmp_path / "site/broken_parts_plugin.py").write_text(BROKEN)

    code, found = doctor(tmp_path, site=tmp_path / "site")

    assert [each["check"] for each in found if each["status"] == "error"] == ["plugins"]
    assert code == 3
    broken = next(each for each in found if each["status"] == "error")
    assert broken["facts"].startswith("broken_parts (broken_parts 0.3), broken: ZeroDivisionError: division by zero")
    assert broken["remedy"] == "pip install --force-reinstall broken_parts"
    assert [line for line in broken["details"].splitlines() if "File" in line] == [
        f'  File "{tmp_path}/site/broken_parts_plugin.py", line {line}, in {where}'
        for line, where in ((5, "<module>"), (2, "helper"))
    ]
    assert "ms for 25 MB between 2 ranks (gloo)" in of(found, "all-reduce")[0]["facts"]
    assert of(found, "torchvision")[0]["facts"].endswith("its operators work")


def test_torch_that_cannot_be_imported_is_a_finding(tmp_path):
    (tmp_path / "site/torch").mkdir(parents=True)
    (tmp_path / "site/torch/__init__.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')\n")

    code, found = doctor(tmp_path, site=tmp_path / "site")

    assert code == 1
    assert of(found, "torch")[0]["facts"] == "ImportError: libcudart.so.13: cannot open shared object file"
    assert of(found, "torch")[0]["remedy"] == "pip install --force-reinstall torch torchvision"
    for check in ("torchvision", "gpus", "backends", "all-reduce"):
        assert of(found, check)[0]["facts"] == "not checked, because torch cannot be used"


@pytest.mark.slow
def test_ranks_that_cannot_connect_are_a_finding(tmp_path):
    code, found = doctor(tmp_path, "--no-plugins", GLOO_SOCKET_IFNAME="nope")

    (all_reduce,) = of(found, "all-reduce")
    assert code == 1
    assert all_reduce["facts"].startswith("2 ranks cannot communicate: ")
    assert "nope" in all_reduce["facts"]
    assert all_reduce["remedy"].startswith("unset GLOO_SOCKET_IFNAME")


@pytest.mark.slow
def test_ranks_that_hang_are_a_finding(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text("import os, time\nif os.environ.get('RANK') == '1': time.sleep(1000)\n")

    code, found = doctor(tmp_path, "--no-plugins", site=tmp_path / "site")

    assert code == 1
    assert "wait timeout after 10000ms" in of(found, "all-reduce")[0]["facts"]


def test_missing_operators_of_torchvision_are_an_error(tmp_path, monkeypatch):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)

    (finding,) = packages.check_torchvision()

    assert (finding.status, finding.facts) == ("error", "RuntimeError: operator torchvision::nms does not exist")
    assert finding.remedy == "pip install --force-reinstall torch torchvision"


def test_a_torchvision_for_another_torch_is_an_error(tmp_path, monkeypatch):
    distribution(tmp_path, "torchvision", "99.0", requires="Requires-Dist: torch==98.7\nRequires-Dist: scipy; extra == 'scipy'\n")
    monkeypatch.syspath_prepend(tmp_path)

    (finding,) = packages.check_packages()

    installed = importlib.metadata.version("torch")
    assert finding.status == "error"
    assert finding.facts == f"torchvision requires torch==98.7, but version {installed} is installed"
    assert finding.remedy == "pip install torch==98.7"


def test_a_package_below_the_supported_range_is_an_error(tmp_path, monkeypatch):
    distribution(tmp_path, "torchmetrics", "0.1")
    monkeypatch.syspath_prepend(tmp_path)

    (finding,) = packages.check_packages()

    assert finding.status == "error"
    assert finding.facts.startswith("ddpkit requires torchmetrics>=")
    assert finding.remedy.startswith("pip install 'torchmetrics>=")


def test_blocked_and_unknown_plugins_are_named(tmp_path, monkeypatch):
    distribution(tmp_path, "broken_parts", "0.3", module="nothing_like_it")
    monkeypatch.syspath_prepend(tmp_path)

    found = list(packages.check_plugins(Policy(block={"broken_parts": "-p no:broken_parts", "brken": "-p no:brken"})))

    blocked, unknown = (next(each for each in found if text in each.facts) for text in ("broken_parts 0.3", "'brken'"))
    assert (blocked.status, blocked.facts) == ("ok", "broken_parts (broken_parts 0.3), blocked: blocked by -p no:broken_parts")
    assert unknown.status == "warning"


JUDGED = {
    "no space": (machine.judge_disk("/data", "results", 10**8), "error", "output_dir"),
    "little space": (machine.judge_disk("/scratch", "temporary files", 3 * 10**9), "warning", "TMPDIR"),
    "read-only": (machine.judge_disk("/data", "results", 10**12, can_write=False), "error", "output_dir"),
    "space": (machine.judge_disk("/data", "results", 10**11), "ok", ""),
    "docker's shared memory": (machine.judge_shared_memory(64 * 2**20, 0, 64 * 2**20), "error", "docker run --shm-size=8g"),
    "little shared memory": (machine.judge_shared_memory(2**29, 0, 2**29), "warning", "--ipc=host"),
    "full shared memory": (machine.judge_shared_memory(2**34, 2**34, 0), "warning", "ls -l /dev/shm"),
    "shared memory": (machine.judge_shared_memory(2**34, 0, 2**34), "ok", ""),
    "few files": (machine.judge_open_files(64, 64), "error", "limits.conf"),
    "rather few files": (machine.judge_open_files(512, 4096), "warning", "ulimit -n 4096"),
    "few files, no hard limit": (machine.judge_open_files(512, resource.RLIM_INFINITY), "warning", "ulimit -n 65536"),
    "files": (machine.judge_open_files(resource.RLIM_INFINITY, resource.RLIM_INFINITY), "ok", ""),
    "quota": (machine.judge_cores(64, 64, 4.0, {}), "warning", "export OMP_NUM_THREADS=4"),
    "quota and threads": (machine.judge_cores(64, 64, 4.0, {"OMP_NUM_THREADS": "2,1"}), "ok", ""),
    "too many threads": (machine.judge_cores(64, 8, None, {"OMP_NUM_THREADS": "64"}), "warning", "OMP_NUM_THREADS=8"),
    "wrong threads": (machine.judge_cores(8, 8, None, {"OMP_NUM_THREADS": "all"}), "warning", "unset OMP_NUM_THREADS"),
    "cores": (machine.judge_cores(8, 8, None, {}), "ok", ""),
    "ascii": (machine.judge_encoding("utf-8", "ANSI_X3.4-1968"), "warning", "export LC_ALL=C.UTF-8"),
    "utf-8": (machine.judge_encoding("utf-8", "UTF-8"), "ok", ""),
    "no driver": (devices.judge_no_gpu("CUDA 13.0", "", None, ""), "ok", ""),
    "hidden GPUs": (devices.judge_no_gpu("CUDA 13.0", "580.1", "-1", ""), "warning", "unset CUDA_VISIBLE_DEVICES"),
    "torch for the CPU": (devices.judge_no_gpu("", "580.1", None, ""), "warning", "pip install --force-reinstall torch"),
    "old driver": (devices.judge_no_gpu("CUDA 13.0", "470.2", None, "too old"), "warning", "nvidia-smi"),
    "no gloo": (devices.judge_backends(has_gloo=False, has_nccl=False, n_gpus=0), "error", "pip install"),
    "GPUs without nccl": (devices.judge_backends(has_gloo=True, has_nccl=False, n_gpus=2), "error", "pip install"),
    "backends": (devices.judge_backends(has_gloo=True, has_nccl=False, n_gpus=0), "ok", ""),
}


@pytest.mark.parametrize(("finding", "status", "remedy"), JUDGED.values(), ids=JUDGED)
def test_each_state_of_a_machine_has_its_status_and_remedy(finding, status, remedy):
    assert finding.status == status
    assert remedy in finding.remedy
    assert bool(finding.remedy) == (status != "ok")
    assert "\n" not in finding.facts + finding.remedy


def test_the_quota_is_the_smallest_of_all_enclosing_cgroups(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("1:name=systemd:/\n0::/pods/mine\n")
    for folder, limit in (("pods/mine", "max 100000"), ("pods", "250000 100000"), ("", "800000 100000")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "cpu.max").write_text(f"{limit}\n")

    assert machine.read_quota(tmp_path, own) == 2.5
    assert machine.read_quota(tmp_path / "nowhere", tmp_path / "nothing") is None


def test_the_driver_version_is_read_from_its_file(tmp_path):
    file = tmp_path / "version"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23\nGCC version: gcc version 12.3.0\n")

    assert devices.read_driver(file) == "580.95.05"
    assert devices.read_driver(tmp_path / "nothing") == ""


def test_a_check_that_fails_does_not_stop_the_others():
    def fail():
        raise OSError("no such device")

    found = list(run_checks({"disk": fail, "encoding": machine.check_encoding}))

    assert found[0][1].status == "error"
    assert found[0][1].facts == "the check failed: OSError: no such device"
    assert "Traceback" in found[0][1].details
    assert found[1][0] == "encoding"


def test_plugins_are_checked_before_torch_is_imported():
    names = list(list_checks(Policy()))

    assert names.index("plugins") < names.index("torch")


def test_the_output_shows_remedy_and_traceback_below_the_facts():
    finding = Finding("error", "it is broken", "repair it", "Traceback:\n  here\n")
    ok, failed, plugin = ("disk", Finding("ok", "fine")), ("disk", finding), ("plugins", finding)

    assert format_finding("disk", finding) == [
        "error    disk           it is broken",
        "                        remedy: repair it",
        "                        Traceback:",
        "                          here",
    ]
    assert summarise([ok]) == "no problem found"
    assert summarise([failed, ok, failed, ("disk", Finding("warning", "", ""))]) == "2 errors, 1 warning"
    assert [exit_code(each) for each in ([ok], [ok, plugin], [failed, plugin])] == [0, 3, 1]
