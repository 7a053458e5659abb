"""Errors that ddpkit raises deliberately, and exit codes.

    DdpkitError             a problem that the user can fix: one message, no traceback
    ├── ConfigError         the TOML, the command line or the input is wrong; lists all problems at once
    │   └── PluginError     ... because a plugin that the run needs cannot be used
    ├── NonFiniteError      the training diverged
    ├── SampleError         a sample cannot be read
    ├── CheckpointError     no valid checkpoint exists, or none can be written
    ├── RunLockedError      another process holds the lock of the run
    ├── RunStopped          a signal stopped the run, and it can be resumed
    └── RankError           a rank of this run failed; contains the report of that rank

Any other exception is a bug and keeps its traceback.
"""

import contextlib
import difflib
import enum
import signal
from collections.abc import Iterable, Iterator, Sequence

import attrs

from ddpkit.terminal import escape

LONGEST = 60
"""Maximum number of characters of a key or a value in a message."""

KeyPath = tuple[str | int, ...]
"""Path of a key: `("criterion", 0, "type")` is `criterion[0].type`."""


class ExitCode(enum.IntEnum):
    """Exit codes of the `ddpkit` command. Scripts depend on these numbers.

    `SOME_SKIPPED`: some inputs of a prediction were skipped. `HELD`: another process holds the lock of the run. `REQUEUE` and
    `INTERRUPTED`: a signal stopped the run, see STOPS.
    """

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    PLUGIN = 3
    SOME_SKIPPED = 4
    CHECKPOINT = 6
    HELD = 8
    REQUEUE = 75
    INTERRUPTED = 130


STOPS = {signal.SIGTERM: ExitCode.REQUEUE, signal.SIGHUP: ExitCode.REQUEUE, signal.SIGINT: ExitCode.INTERRUPTED}
"""Signal that stops a run -> exit code of the stopped run."""


class DdpkitError(Exception):
    """Error for users: the message says where the problem is, what is wrong and how to fix it."""

    exit_code: int = ExitCode.FAILED


@attrs.frozen
class Diagnostic:
    """Mistake in the input, with its location."""

    where: str
    """`file:line:col`, or the option that set the value (`--set 1`)."""
    path: KeyPath
    """Path of the key; empty if the mistake concerns the whole input."""
    message: str
    """Description of the mistake and of the remedy."""
    excerpt: str = attrs.field(default="", eq=False, repr=False)
    """Line of the file with a caret, for a terminal."""

    def __str__(self) -> str:
        return escape(": ".join(part for part in (self.where, format_key_path(self.path), self.message) if part))


class ConfigError(DdpkitError):
    """Error for wrong input, with all its `problems`; nothing was started or written."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, problems: Sequence[Diagnostic]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)

    def with_excerpts(self) -> str:
        """Return the message with each problem followed by its line with a caret."""
        return "\n".join(part for problem in self.problems for part in (str(problem), problem.excerpt) if part)


class PluginError(ConfigError):
    """Error for a run that names a component of a plugin that cannot be used."""

    exit_code = ExitCode.PLUGIN


class NonFiniteError(DdpkitError):
    """Error for a loss that is infinite or NaN; every rank raises it, in the same epoch."""


class SampleError(DdpkitError):
    """Error for a sample that cannot be read, or does not fit the others of its micro-batch."""


class CheckpointError(DdpkitError):
    """Error for checkpoints that are corrupt, or cannot be written."""

    exit_code = ExitCode.CHECKPOINT


class RunLockedError(DdpkitError):
    """Error for a run whose lock another process holds."""

    exit_code = ExitCode.HELD


class RunStopped(DdpkitError):  # noqa: N818 - a stopped run has not failed
    """End of a run that a signal stopped; its progress is saved."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RankError(DdpkitError):
    """Error for a rank that failed; the other ranks were terminated.

    The message is the report of that rank: the traceback of a bug, or the message about wrong input.
    """

    def __init__(self, report: str, exit_code: int = ExitCode.FAILED) -> None:
        super().__init__(report)
        self.exit_code = exit_code


@attrs.frozen
class ComponentName:
    """Name of a component for messages, and the place in the config that selects the component."""

    text: str
    """Kind and name and, for a third-party component, its plugin and its file."""
    path: KeyPath = ()

    def __str__(self) -> str:
        return self.text


class ComponentNote(str):
    """Note of an exception (PEP 678) that names the component that raised it."""

    name: ComponentName


def add_component_note(error: Exception, name: ComponentName | None) -> None:
    """Note that the component `name` raised the exception. The innermost component counts; a DdpkitError needs no note."""
    if name is None or isinstance(error, DdpkitError) or failed_component(error):
        return
    note = ComponentNote(f"{name} failed: {type(error).__name__}: {error}")
    note.name = name
    error.add_note(note)


def failed_component(error: BaseException) -> ComponentName | None:
    """Return the component that raised an exception; None if it is not known."""
    return next((note.name for note in getattr(error, "__notes__", ()) if isinstance(note, ComponentNote)), None)


def find_name(component: object, components: Iterable[object], names: Iterable[ComponentName]) -> ComponentName | None:
    """Return the name of one of several components; None if the names are not known."""
    return next((name for each, name in zip(components, names, strict=False) if each is component), None)


def take_component_note(error: BaseException) -> str:
    """Remove the note about the component, and return it as a line to print above the traceback; empty without a note."""
    notes = getattr(error, "__notes__", [])
    found = [note for note in notes if isinstance(note, ComponentNote)]
    for note in found:
        notes.remove(note)
    return escape("".join(found))


def describe_failure(error: BaseException) -> str:
    """Return component, type and message of an exception; without the component if it is not known."""
    return name_failure(error, f"{type(error).__name__}: {error}")


def name_failure(error: BaseException, message: str = "") -> str:
    """Return a message about an exception, by default its own, after the name of the component if that is known."""
    name = failed_component(error)
    return f"{f'{name}: ' if name else ''}{message or error}"


@contextlib.contextmanager
def named_errors(name: ComponentName | None) -> Iterator[None]:
    """Note that exceptions inside the context come from the component `name`.

    Code that runs in each step or for each sample calls `add_component_note` itself, because a context costs 1 us.
    """
    try:
        yield
    except Exception as error:
        add_component_note(error, name)
        raise


@contextlib.contextmanager
def component_errors(name: ComponentName | None) -> Iterator[None]:
    """Convert a ValueError of the component `name` to one whose message starts with it; add a note to other exceptions."""
    try:
        with named_errors(name):
            yield
    except ValueError as error:
        if name is None:
            raise
        raise ValueError(f"{name} does not accept these values: {error}") from error


def format_key_path(path: KeyPath) -> str:
    """Return a key path as users write it: `criterion[0].type`. Keys longer than LONGEST are cut."""
    parts = [
        f"[{part}]" if isinstance(part, int) else f".{part if len(part) <= LONGEST else part[:LONGEST] + '...'}" for part in path
    ]
    return "".join(parts).removeprefix(".")


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the hint for an unknown name: the similar known name or, if there is none, all known names."""
    names = sorted(known)
    meant = closest(name, names)
    if meant:
        return f"did you mean {meant!r}?"
    return f"choose from: {', '.join(names)}" if names else "none is available"


def list_first(texts: Sequence[str], n: int, separator: str = ", ") -> str:
    """Return the first `n` texts, and the number of the others: `a, b and 3 more`."""
    more = f" and {len(texts) - n} more" if len(texts) > n else ""
    return separator.join(texts[:n]) + more


def closest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is similar to `name`, and was probably meant; empty if none is similar."""
    lowered = {other.lower(): other for other in sorted(known)}
    if len(name) > LONGEST:
        return ""
    exchanged = [other for other in lowered if sorted(other) == sorted(name.lower())]  # difflib finds no `l1` for `1l`
    close = difflib.get_close_matches(name.lower(), lowered, 1) or exchanged
    return lowered[close[0]] if close else ""
