"""Let write operations of whole runs fail; each run must end with one message, and resume to a bit-identical result.

    python -m tests.io_errors --errors 200

A run trains, tests and predicts. One of its write operations (open, write, sync, rename, remove, make a folder) fails with an
error of the disk, or that one and all later ones. The last line is a summary; the exit code is 1 if a run ended with a
traceback or another exit code than 0 and 6, or if a resumed run differs.
"""

import argparse
import builtins
import errno
import io
import os
import random
import sys
import tempfile
from pathlib import Path

import attrs

from tests import campaign

ERRORS = (errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOSPC, errno.EROFS)
NEVER = 10**9
PREDICT = ["--set", "private.mode=7", "--set", "predict.input=images", "--set", 'predict.config.mode="L"']


@attrs.define
class FaultyDisk:
    """Counts the write operations of this process inside a folder, and lets them fail from one of them on."""

    folder: str
    first: int = NEVER
    """Number of the operation, from 1, that fails."""
    number: int = errno.ENOSPC
    is_permanent: bool = False
    """Whether all later operations fail too."""
    count: int = 0

    def install(self):
        """Intercept the operations. A process cannot undo it, so it must be a forked one."""
        import safetensors.torch

        sys.addaudithook(self.on_event)
        write, sync, serialize = os.write, os.fsync, safetensors.torch.serialize_file
        os.write = lambda file, data: self.tick(path_of(file)) or write(file, data)
        os.fsync = lambda file: self.tick(path_of(file)) or sync(file)
        safetensors.torch.serialize_file = lambda tensors, file, *rest, **named: (
            self.tick(str(file), safetensors.SafetensorError) or serialize(tensors, file, *rest, **named)
        )
        builtins.open = io.open = self.opener(io.open)

    def on_event(self, event, arguments):
        """Audit hook of the interpreter: an exception here makes the operation fail."""
        if event == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.tick(path, names_file=True)
        elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"):
            self.tick(arguments[0], names_file=True)

    def tick(self, path, kind=OSError, *, names_file=False):
        """Count an operation; raise the error if it must fail. The file `steps.txt` belongs to a plugin."""
        if not str(path).startswith(self.folder) or str(path).endswith("steps.txt"):
            return
        self.count += 1
        if self.count == self.first or (self.is_permanent and self.count > self.first):
            text = os.strerror(self.number)
            raise OSError(self.number, text, *[str(path)] * names_file) if kind is OSError else kind(text)

    def opener(self, original):
        """Return a function like `open` whose files report each write to this object."""

        def faulty_open(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **more):
            path = str(Path(file).absolute()) if isinstance(file, str | os.PathLike) else ""
            if not path.startswith(self.folder) or not set(mode) & set("wax+"):
                return original(file, mode, buffering, encoding, errors, newline, **more)
            raw = FaultyFile(file, mode.replace("b", "").replace("t", ""))
            raw.disk, raw.path = self, path
            buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)

        return faulty_open


class FaultyFile(io.FileIO):
    """Open file that reports each write to a FaultyDisk."""

    def write(self, data):
        self.disk.tick(self.path)
        return super().write(data)


def path_of(descriptor):
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


@attrs.define
class ErrorCampaign(campaign.Campaign):
    """State and results of a campaign of injected errors."""

    operations: int = 0
    """Number of write operations of an uninterrupted run."""
    codes: dict = attrs.field(factory=dict)
    """Number of runs per exit code."""

    def prepare(self):
        """Make the images to predict, count the operations of a run, and run the reference."""
        from PIL import Image

        campaign.SEEDS = 1
        (self.folder / "images").mkdir()
        for name in ("a", "b"):
            Image.new("L", (28, 28), 99).save(self.folder / f"images/{name}.png")
        super().prepare()
        counted = self.folder / "count.txt"
        self.execute("counted", FaultyDisk(str(self.folder / "runs")), report=counted)
        self.operations = int(counted.read_text())
        self.references[0] |= {"predictions": predictions_of("counted")}

    def failed_run(self):
        """Execute one run with an injected error, resume it without one, and compare it."""
        name = f"failed-{self.runs}"
        disk = FaultyDisk(
            str(self.folder / "runs"),
            self.rng.randint(1, self.operations),
            self.rng.choice(ERRORS),
            is_permanent=self.rng.random() < 0.5,
        )
        code, output = self.execute(name, disk)
        self.codes[code] = self.codes.get(code, 0) + 1
        where = f"{name}: operation {disk.first}, {errno.errorcode[disk.number]}{', permanent' * disk.is_permanent}"
        if code not in (0, 6) or "Traceback" in output:
            self.wrong.append(f"{where}: exit code {code}\n{output[-1500:]}")
        if code == 6 and not ("cannot" in output and str(self.folder / "runs") in output) and "could not be saved" not in output:
            self.wrong.append(f"{where}: the message does not name the path\n{output[-500:]}")
        resumed, output = self.execute(name, FaultyDisk(str(self.folder / "runs")))
        if resumed:
            self.wrong.append(f"{where}: could not be resumed, exit code {resumed}\n{output[-1500:]}")
            self.runs += 1
        else:
            self.compare(name, 0)

    def compare(self, name, seed):
        """Compare a finished run, with its predictions, with the uninterrupted one."""
        if predictions_of(name) != self.references[0]["predictions"]:
            self.wrong.append(f"{name}: predictions differ")
        reference = self.references[0].pop("predictions")
        super().compare(name, seed)
        self.references[0]["predictions"] = reference

    def execute(self, name, disk, report=None):
        """Run or resume in a forked process; return its exit code and output."""
        output = self.folder / "output.txt"
        output.unlink(missing_ok=True)
        process = os.fork()
        if not process:
            code = 1
            try:
                file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(file, 1)
                os.dup2(file, 2)
                disk.install()
                from ddpkit.cli.main import main

                code = main(["run", *campaign.options(name, 0), *PREDICT])
                if report:
                    report.write_text(str(disk.count))
            except BaseException:  # noqa: BLE001 - shown in the output
                import traceback

                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        (code,) = campaign.wait([process], self.wrong, seconds=60)
        return code, output.read_text()

    def summary(self):
        """Return the summary, which is printed as the last line."""
        codes = " ".join(f"exit {code}: {n}" for code, n in sorted(self.codes.items()))
        return f"operations={self.operations} errors={self.runs} ({codes}) equal={self.equal}/{self.runs} wrong={len(self.wrong)}"


def predictions_of(name):
    folder = campaign.run_folder(name) / "predictions"
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} if folder.is_dir() else {}


def main(arguments=None):
    """Run a campaign; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--errors", type=int, default=20, help="number of runs with an error (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choices (default: 0)")
    given = parser.parse_args(arguments)
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="io-errors-") as folder:
        found = ErrorCampaign(Path(folder), random.Random(given.seed))
        found.prepare()
        while found.runs < given.errors:
            found.failed_run()
        os.chdir(here)
    print(*found.wrong, found.summary(), sep="\n", flush=True)
    return int(bool(found.wrong or found.equal < found.runs))


if __name__ == "__main__":
    sys.exit(main())
