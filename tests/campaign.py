"""Kill runs at random times; no save may be lost, and the result must be bit-identical to an uninterrupted run.

    python -m tests.campaign --kills 1000
    python -m tests.campaign --minutes 30 --kills 1000000
    python -m tests.campaign --signals 200

Kills are SIGKILL to one rank or to all; each resume has one rank or two at random (`ddp.virtual_shards`). Signals are SIGTERM
or SIGINT, sent between start and exit, to one process or to a launcher of two ranks. The last line is a summary; the exit code
is 1 if a save was lost, a rank hung, an exit code was wrong or a result differs.
"""

import argparse
import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs

from ddpkit.checkpoint.store import Store
from ddpkit.errors import STOPS, CheckpointError

PARTS = Path(__file__).parent / "helpers/campaign_parts.py"
CONFIG = """\
output_dir = "runs"
task = "campaign"
device = "cpu"
metrics = ["accuracy"]
postprocess = "classification"

[ddp]
virtual_shards = 2

[model]
name = "drilled"
config = { n_classes = 10 }

[[criterion]]
type = "cross_entropy"

[transform]
ROTATION = [20]
PIL_TO_TENSOR = []
CONVERT_IMAGE_DTYPE = ["float32"]

[dataset]
name = "MNIST"
config = { max_samples = 60 }

[train]
batch_size = 12
epoch = 3
ema_decay = 0.9
save_recovery_period = 1e-9
optimizer = { type = "adamw", learning_rate = 0.01, weight_decay = 0.1 }
lr_scheduler = { type = "cosine", warmup = 0.5, update_policy = "step" }

[private.log]
verbose = false

[plugins]
files = ["PARTS"]
"""
SEEDS = 3
"""Number of different runs, each with an uninterrupted reference."""
HANG_SECONDS = 30
"""Seconds after which a rank counts as hanging."""


@attrs.define
class Campaign:
    """State and results of a campaign."""

    folder: Path
    rng: random.Random
    references: dict = attrs.field(factory=dict)
    """Final states of the uninterrupted runs, by seed."""
    seconds: float = 1.0
    """Duration of an uninterrupted run."""
    kills: int = 0
    signals: int = 0
    runs: int = 0
    equal: int = 0
    lost: int = 0
    wrong: list = attrs.field(factory=list)
    """Messages about wrong exit codes, hangs and differences."""

    def prepare(self):
        """Import torch once, so that forked ranks inherit it, and run the references. No torch code may run in this process."""
        for name in (
            "torch._dynamo",
            "torchvision.transforms.v2",
            "torchmetrics",
            "ddpkit.cli.run",
            "ddpkit.checkpoint.checkpointer",
            "ddpkit.training.builder",
        ):
            importlib.import_module(name)
        os.chdir(self.folder)
        Path("campaign.toml").write_text(CONFIG.replace("PARTS", str(PARTS)))
        os.environ["OMP_NUM_THREADS"] = "1"
        for seed in range(SEEDS):
            started = time.monotonic()
            if any(wait(ranks(1, f"reference-{seed}", seed), self.wrong)):
                raise SystemExit(Path("output.txt").read_text())
            self.seconds = time.monotonic() - started
            self.references[seed] = end_of(f"reference-{seed}")

    def killed_run(self, more):
        """Execute one run from start to end, with random kills while `more()` is true."""
        name, seed, newest = f"killed-{self.runs}", self.runs % SEEDS, None
        while not (run_folder(name) / "finished.json").exists():
            processes = ranks(self.rng.choice((1, 2)), name, seed)
            if more() and self.rng.random() < 0.9:
                time.sleep(self.rng.random() * self.seconds * 1.2)
                for process in self.rng.choice((processes, [self.rng.choice(processes)])):
                    os.kill(process, signal.SIGKILL)
                self.kills += 1
                wait(processes, [], seconds=2)  # then the remaining ranks are killed, as by the agent of torch
            elif codes := [code for code in wait(processes, self.wrong) if code]:
                raise SystemExit(f"{name} failed by itself, exit codes {codes}:\n{Path('output.txt').read_text()[-3000:]}")
            newest = self.not_before(newest, name)
        self.compare(name, seed)

    def signalled_run(self):
        """Execute one run that gets a signal and is then resumed until its end."""
        name, seed, number = f"signalled-{self.runs}", self.runs % SEEDS, self.rng.choice(list(STOPS))
        launched = self.rng.random() < 0.25
        process = launch(name, seed) if launched else ranks(1, name, seed)[0]
        time.sleep(self.rng.random() * self.seconds * (12 if launched else 1.2))
        os.kill(process, number)
        self.signals += 1
        (code,) = wait([process], self.wrong)
        if code not in ({0, STOPS[number]} if is_trained(name) else {0, STOPS[number], -number}):
            self.wrong.append(f"{name}: exit code {code} after {number.name}\n{Path('output.txt').read_text()[-2000:]}")
        saved, done = newest_of(name), steps_of(name)
        if code in STOPS.values() and done and saved != done:
            self.lost += 1
            self.wrong.append(f"{name}: {done} steps were executed, but only {saved} are saved")
        if any(wait(ranks(1, name, seed), self.wrong)):
            self.wrong.append(f"{name} could not be resumed")
        self.compare(name, seed)

    def not_before(self, newest, name):
        """Return the step of the newest checkpoint; count a loss if it is older than before, or all are corrupt."""
        try:
            now = newest_of(name)
        except CheckpointError as error:
            self.lost, now = self.lost + 1, newest
            self.wrong.append(str(error))
        if newest and (now or 0) < newest:
            self.lost += 1
            self.wrong.append(f"{name}: step {newest} was saved, but the newest checkpoint is step {now}")
        return now

    def compare(self, name, seed):
        """Compare a finished run with the uninterrupted one."""
        end, reference = end_of(name), self.references[seed]
        self.runs += 1
        self.equal += end == reference
        self.wrong += [f"{name}: {part} differs" for part in reference if end[part] != reference[part]]

    def summary(self):
        """Return the summary, which is printed as the last line."""
        return f"kills={self.kills} signals={self.signals} runs={self.runs} lost={self.lost} equal={self.equal}/{self.runs}"


def options(name, seed):
    return ["campaign.toml", "--resume", "--set", f"run_id={name}", "--set", f"seed={seed}"]


def ranks(size, name, seed):
    """Fork the ranks of a run; returns their process ids."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    sys.stdout.flush()
    processes = []
    for number in range(size):
        process = os.fork()
        if not process:
            rank(number, size, port, ["run", *options(name, seed)])
        processes.append(process)
    return processes


def rank(number, size, port, arguments):
    """Run a rank in the forked process, as torchrun would start it."""
    code = 1
    try:  # never return into the code of the campaign
        code = command_as(number, size, port, arguments)
    except KeyboardInterrupt:
        code = STOPS[signal.SIGINT]
    except BaseException as error:  # noqa: BLE001 - any error ends the process
        print(repr(error), file=sys.stderr)
    finally:
        os._exit(code)


def command_as(number, size, port, arguments):
    """Run the command as this rank; returns the exit code."""
    from ddpkit.cli.main import main

    place = {"RANK": number, "WORLD_SIZE": size, "LOCAL_RANK": number, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ |= {key: str(value) for key, value in place.items()} | {"MASTER_ADDR": "localhost"}
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = main(arguments)
    sys.stderr.flush()
    return code


def launch(name, seed):
    """Start the command with two ranks; returns its process id."""
    command = [sys.executable, "-P", "-m", "ddpkit", "run", *options(name, seed), "--nproc", "2"]
    with Path("output.txt").open("a") as output:
        return subprocess.Popen(command, stdout=output, stderr=output).pid


def wait(processes, wrong, seconds=HANG_SECONDS):
    """Wait for the processes; returns their exit codes. One that hangs is killed, and reported in `wrong`."""
    deadline, codes = time.monotonic() + seconds, {}
    while len(codes) < len(processes):
        for process in [each for each in processes if each not in codes]:
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                codes[process] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                wrong.append("a rank hung")
                os.kill(process, signal.SIGKILL)
        time.sleep(0.005)
    return list(codes.values())


def run_folder(name):
    return Path("runs/campaign") / name


def newest_of(name):
    found = Store(run_folder(name) / "checkpoints").newest()
    return found.step if found else None


def steps_of(name):
    """Return the number of different steps that were executed."""
    log = run_folder(name) / "steps.txt"
    return len(set(log.read_text().splitlines())) if log.exists() else 0


def is_trained(name):
    """Return whether the run is between its first and last step, where signals must be handled."""
    return 0 < steps_of(name) < 12


def end_of(name):
    """Return everything that must be bit-identical."""
    newest = Store(run_folder(name) / "checkpoints").newest()
    state, history = newest.plain, (run_folder(name) / "history.jsonl").read_text().splitlines()
    state.pop("run")
    rows = [{key: value for key, value in json.loads(line).items() if "second" not in key} for line in history]
    files = {file: data for file, data in newest.files.items() if file != "state.json"}
    weights = {file.name: file.read_bytes() for file in (run_folder(name) / "weights").iterdir()}
    test = (run_folder(name) / "test_metrics.json").read_text()
    return {"state": state, "history": rows, "files": files, "weights": weights, "test": test}


def main(arguments=None):
    """Run a campaign; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=0, help="number of kills (default: 0)")
    parser.add_argument("--signals", type=int, default=0, help="number of signals (default: 0)")
    parser.add_argument("--minutes", type=float, default=1e9, help="time limit in minutes (default: none)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choices (default: 0)")
    given = parser.parse_args(arguments)
    here, end = Path.cwd(), time.monotonic() + given.minutes * 60
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        campaign = Campaign(Path(folder), random.Random(given.seed))
        campaign.prepare()
        while campaign.kills < given.kills and time.monotonic() < end:
            campaign.killed_run(lambda: campaign.kills < given.kills)
            if campaign.runs % 20 == 0:
                print(f"{time.strftime('%H:%M:%S')} {campaign.summary()}", flush=True)
        while campaign.signals < given.signals and time.monotonic() < end:
            campaign.signalled_run()
        os.chdir(here)
    print(*campaign.wrong, campaign.summary(), sep="\n", flush=True)
    return int(bool(campaign.lost or campaign.wrong or campaign.equal < campaign.runs))


if __name__ == "__main__":
    sys.exit(main())
