"""Text on a terminal: unsafe characters are escaped, and a closed or full terminal never ends a command."""

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""Control characters, line separators, marks that reverse the direction of text, and parts of undecodable file names."""


def escape(text: str, keep: str = "") -> str:
    """Return a text with each unsafe character as an escape sequence, so that a name cannot clear the screen or forge a line.

    The sequences are those of JSON, so JSON stays valid. `keep`: characters that are not replaced, such as line breaks.
    """
    return UNSAFE.sub(lambda found: found[0] if found[0] in keep else json.dumps(found[0])[1:-1], text)


def write(text: str) -> None:
    """Write lines to stdout, with unsafe characters escaped."""
    sys.stdout.write(escape(text, keep="\n\t"))


def write_error(text: str) -> None:
    """Write lines to stderr, with unsafe characters escaped."""
    sys.stderr.write(escape(text, keep="\n\t"))


class GuardedFile(io.FileIO):
    """Open descriptor of a terminal, pipe or file whose write errors are ignored: nobody reads the text any more."""

    def write(self, data: Any) -> int:
        """Write the data, or drop it if that fails or would block. Returns the number of bytes that were written or dropped."""
        try:
            written = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written


@contextlib.contextmanager
def guard_streams() -> Iterator[None]:
    """Ignore write errors of stdout and stderr inside the context, in this process and in its forked children.

    A stream that the shell closed (`>&-`) is replaced by the null device, because the next opened file would get its number.
    """
    open_standard_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = guard(sys.stdout, 1), guard(sys.stderr, 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def open_standard_descriptors() -> None:
    """Open the null device as each of the descriptors 0, 1 and 2 that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


def guard(stream: TextIO | None, number: int) -> TextIO:
    """Return a guarded stream in place of `stream`, which is None if the shell closed it.

    A stream that does not write to the descriptor `number`, such as that of a test or a notebook, is returned unchanged.
    """
    if stream is not None:
        try:
            if stream.fileno() != number:
                return stream
            stream.flush()
        except (OSError, ValueError):
            return stream
    encoding = stream.encoding if stream else "utf-8"
    buffer = io.BufferedWriter(GuardedFile(number, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=number == 2 or os.isatty(number))  # noqa: PLR2004
