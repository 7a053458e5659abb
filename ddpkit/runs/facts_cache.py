"""Facts about samples that an earlier check of the data has read; each is valid while the files of the sample do not change."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from ddpkit.data.sample_facts import SampleFacts
from ddpkit.runs import log
from ddpkit.runs.files import Files, replace_file

FOLDER = ".cache"
"""Folder in `output_dir` whose files can be deleted at any time."""


@attrs.frozen
class FactsCache:
    """Facts by the name of the sample, each with the state of its files: sizes and modification times."""

    known: dict[str, Any]

    def get(self, name: str, state: list[Any]) -> SampleFacts | None:
        """Return the facts of a sample; None if they are unknown, or if its files have changed. `state` is [] without files."""
        entry = self.known.get(name)
        return SampleFacts(**entry["facts"]) if state and entry and entry["state"] == state else None

    def put(self, name: str, state: list[Any], facts: SampleFacts) -> None:
        if state:
            self.known[name] = {"state": state, "facts": attrs.asdict(facts)}


@contextlib.contextmanager
def open_facts_cache(output_dir: Path, key: Any) -> Iterator[FactsCache]:
    """Yield the facts that were found with the same key, and save them at the end, even after an error.

    `key`: everything that the facts depend on in addition to the files, as plain data. A damaged file is ignored; a file that
    cannot be written is a warning.
    """
    digest = hashlib.blake2b(json.dumps(key, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()
    file = output_dir / FOLDER / f"checked-{digest}.json"
    cache = FactsCache(read_known(file))
    try:
        yield cache
    finally:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(Files(), file, [json.dumps(cache.known).encode()])
        except OSError as error:
            log.print_warnings([f"{file} cannot be written: {error.strerror}; the next check reads all samples again"])


def read_known(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
