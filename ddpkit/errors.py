"""Every error that ddpkit raises on purpose, and every exit code.

    DdpkitError             something a person can put right: one message, no traceback
    ├── ConfigError         the TOML, the command line or the input is wrong; lists every problem at once
    │   └── PluginError     ... because a plugin that the run needs cannot be used
    ├── NonFiniteError      the training diverged
    ├── SampleError         a sample cannot be read
    ├── CheckpointError     no good checkpoint, or none can be written
    ├── HeldError           another process has the run
    ├── Stopped             a signal ended the run, at a place to go on from
    └── RankError           a rank of this run failed; carries that rank's own report

Anything else that escapes is a bug and keeps its traceback.
"""

import contextlib
import difflib
import enum
import signal
from collections.abc import Iterable, Iterator, Sequence

import attrs

LONGEST = 60
"""Characters of a key or a value that a message shows."""

KeyPath = tuple[str | int, ...]
"""`("criterion", 0, "type")` is the key `criterion[0].type`."""


class ExitCode(enum.IntEnum):
    """What the shell sees. Scripts rely on these numbers."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    PLUGIN = 3
    SOME_SKIPPED = 4
    CHECKPOINT = 6
    HELD = 8
    REQUEUE = 75
    INTERRUPTED = 130


STOPS = {signal.SIGTERM: ExitCode.REQUEUE, signal.SIGINT: ExitCode.INTERRUPTED}
"""Signals that end a run, and how it then exits."""


class DdpkitError(Exception):
    """An error for people: its text says where, what is wrong and what to do."""

    exit_code: int = ExitCode.FAILED


@attrs.frozen
class Problem:
    """One mistake in the input."""

    where: str
    """`file:line:col`, or the option that brought the value (`--set 1`)."""
    path: KeyPath
    """The key; empty when the whole input is meant."""
    message: str
    """What is wrong and what to do."""
    excerpt: str = attrs.field(default="", eq=False, repr=False)
    """The line with a caret, for a terminal."""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, shown(self.path), self.message) if part)


class ConfigError(DdpkitError):
    """The input is wrong; nothing was started or written."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)

    def with_excerpts(self) -> str:
        """The same text, each problem followed by its line with a caret."""
        return "\n".join(part for problem in self.problems for part in (str(problem), problem.excerpt) if part)


class PluginError(ConfigError):
    """A component that the run names belongs to a plugin that cannot be used."""

    exit_code = ExitCode.PLUGIN


class NonFiniteError(DdpkitError):
    """A loss is infinite or not a number; every rank raises it, in the same epoch."""


class SampleError(DdpkitError):
    """A sample cannot be read, or does not fit the others of its micro-batch."""


class CheckpointError(DdpkitError):
    """Checkpoints are damaged, or cannot be written."""

    exit_code = ExitCode.CHECKPOINT


class HeldError(DdpkitError):
    """Another process writes this run."""

    exit_code = ExitCode.HELD


class Stopped(DdpkitError):  # noqa: N818 - it went as it should
    """A signal ended the run; what was done is saved."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RankError(DdpkitError):
    """A rank failed and the others were ended.

    The text is that rank's report: its traceback if it met a bug, its message if the input was wrong.
    """

    def __init__(self, report: str, exit_code: int = ExitCode.FAILED) -> None:
        super().__init__(report)
        self.exit_code = exit_code


@contextlib.contextmanager
def refusals(who: str) -> Iterator[None]:
    """What a component refuses (its ValueError) is said to be of it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{who} refuses this: {error}") from error


def shown(path: KeyPath) -> str:
    """A key path as people write it: `criterion[0].type`; a part that no line can hold is cut."""
    parts = [
        f"[{part}]" if isinstance(part, int) else f".{part if len(part) <= LONGEST else part[:LONGEST] + '...'}" for part in path
    ]
    return "".join(parts).removeprefix(".")


def suggest(name: str, known: Iterable[str]) -> str:
    """What to say behind an unknown name: the one that was meant, else all there are."""
    names = sorted(known)
    meant = closest(name, names)
    if meant:
        return f"did you mean {meant!r}?"
    return f"there are: {', '.join(names)}" if names else "there are none"


def closest(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant; empty if none is near."""
    lowered = {other.lower(): other for other in sorted(known)}
    if len(name) > LONGEST:
        return ""
    exchanged = [other for other in lowered if sorted(other) == sorted(name.lower())]  # `1l` for `l1`: too short to be near
    close = difflib.get_close_matches(name.lower(), lowered, 1) or exchanged
    return lowered[close[0]] if close else ""
