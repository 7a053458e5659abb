"""Check the subject of a commit message: `scope: imperative`, at most 72 characters. Used as a commit-msg hook."""

import re
import sys
from pathlib import Path

SUBJECT = re.compile(r"(?P<scope>[a-z][a-z0-9_/,. -]*): (?P<text>[a-z].*[^.\s])")
LONGEST = 72


def find_problems(message: str) -> list[str]:
    """Return descriptions of all mistakes in the subject (the first line). The subjects of merges and reverts are accepted."""
    subject, _, rest = message.partition("\n")
    if subject.startswith(("Merge ", "Revert ", "fixup! ", "squash! ")):
        return []
    problems = []
    if not SUBJECT.fullmatch(subject):
        problems.append(f"{subject!r} must have the form 'scope: imperative', for example 'config: check the split'")
    if len(subject) > LONGEST:
        problems.append(f"the subject has {len(subject)} characters; shorten it to at most {LONGEST}")
    if rest and not rest.startswith("\n"):
        problems.append("the second line must be empty; start the body in the third line")
    return problems


if __name__ == "__main__":
    found = find_problems(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.exit("\n".join(found) or 0)
