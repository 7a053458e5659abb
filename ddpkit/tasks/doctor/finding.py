"""Result of a check: its status, the facts and, if something is wrong, a remedy."""

from typing import Literal

import attrs

Status = Literal["ok", "warning", "error"]


@attrs.frozen
class Finding:
    """Result of a check of this machine."""

    status: Status
    """`warning`: runs work, but something is slow or may fail. `error`: runs, or some of them, fail."""
    facts: str
    """One line with what the check found."""
    remedy: str = ""
    """One line with a command or a step; empty if the status is `ok`."""
    details: str = ""
    """Traceback of the error; empty if there is none."""
