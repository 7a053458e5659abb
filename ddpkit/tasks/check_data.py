"""Check of all data: read every sample once, in parallel, and list what is wrong with the files, labels and splits."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ddpkit.config import loading, schema
from ddpkit.config.classes import configured_outputs, foreground_names
from ddpkit.config.loading import Config
from ddpkit.data.builder import DataBuilder
from ddpkit.data.classes import BINARY, ClassInference
from ddpkit.data.findings import CheckedSample, Finding, KnownLabels, find_problems
from ddpkit.data.loader import SplitLoader
from ddpkit.data.recorded_split import sample_identity
from ddpkit.data.sample_facts import FactsReader, SampleFacts
from ddpkit.data.stream import is_stream
from ddpkit.data.stream_checks import refuse_stream
from ddpkit.data.workers import guard_workers, make_loader, start_loader
from ddpkit.distributed.cores import count_cores
from ddpkit.distributed.world import World
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import log, plugin_manifest
from ddpkit.runs.facts_cache import FactsCache, open_facts_cache
from ddpkit.runs.screen.console import show_progress

CHUNK = 16
"""Number of samples that a worker reads at a time."""


def check_data(config: Config, plugins: Plugins) -> list[Finding]:
    """Return all problems with the samples of all splits.

    Samples whose files have not changed since the last check are not read again. Raises ConfigError if the dataset or its splits
    cannot be built.
    """
    run = config.run
    with log.log_messages(run, is_main=True), open_facts_cache(Path(run.output_dir), facts_key(config, plugins)) as cache:
        loaders = DataBuilder(config, plugins.registry, World()).loaders(None)
        if is_stream(loaders["train"].samples.dataset):
            raise refuse_stream(config, "'--data'", "its samples have no index; a run checks them while it reads them")
        samples = [sample for split, loader in loaders.items() for sample in check_split(split, loader, cache, run)]
        labels = known_labels(ClassInference.of(config, plugins.registry, loaders))
    collates = loaders["train"].samples.info.collate is not None
    return find_problems(samples, labels, collates=collates)


def facts_key(config: Config, plugins: Plugins) -> list[Any]:
    """Return everything that the facts about a sample depend on, in addition to its files."""
    tables, dataset = loading.to_tables(config.run), config.run.dataset
    root = str(Path(dataset.root_dir).absolute())
    return [root, dataset.name, dataset.config, tables["transform"], plugin_manifest.list_used_plugins(config, plugins)]


def check_split(split: str, loader: SplitLoader, cache: FactsCache, run: schema.Run) -> Iterator[CheckedSample]:
    """Yield the samples of a split with their facts, which are read in parallel if the cache does not have them."""
    indices = loader.sampler.indices
    names = dict(zip(indices, map(str, loader.samples.info.identify(indices)), strict=True))
    states = file_states(loader)
    known = {index: cache.get(f"{split}/{names[index]}", states.get(index, [])) for index in indices}
    facts = {index: found for index, found in known.items() if found}
    for index, read in read_facts(loader, [index for index in indices if index not in facts], run):
        facts[index] = read
        cache.put(f"{split}/{names[index]}", states.get(index, []), read)
    yield from (CheckedSample(split, names[index], facts[index]) for index in indices)


def file_states(loader: SplitLoader) -> dict[int, list[Any]]:
    """Return what changes if the files or the entry of a sample change, by index; {} if the files are not known."""
    indices, entries = loader.sampler.indices, loader.samples.info.samples
    if entries is None:
        return {}
    states = zip(indices, loader.samples.file_states(indices), strict=True)
    return {index: [*state, sample_identity(entries[index])] for index, state in states}


def read_facts(loader: SplitLoader, indices: Sequence[int], run: schema.Run) -> Iterator[tuple[int, SampleFacts]]:
    """Yield the facts of these samples, read by one worker per core, and show the progress."""
    chunks = [list(indices[start : start + CHUNK]) for start in range(0, len(indices), CHUNK)]
    if not chunks:
        return
    split, workers = loader.samples.split, min(count_cores(), len(chunks))
    with guard_workers(lambda: f"the {split} samples"):
        reading = start_loader(make_loader(FactsReader(loader.samples), chunks, num_workers=workers, timeout=run.ddp.timeout))
        shown = show_progress(reading, f"reading {split}", len(chunks), run.private.log.every_seconds)
        for chunk, found in zip(chunks, shown, strict=True):
            yield from zip(chunk, found, strict=True)


def known_labels(inference: ClassInference) -> KnownLabels | None:
    """Return the labels that a target may contain; None if the targets are not classes, or if their number is unknown."""
    run, found = inference.run, inference.train.info.classes
    n_outputs = configured_outputs(run) or 0
    n_named = max(len(foreground_names(names, inference.gives, n_outputs)) for names in (run.classes, found))
    n = n_named or max(n_outputs, BINARY * bool(n_outputs))
    if not n or not inference.predicts_classes or inference.gives == "labels":
        return None
    return KnownLabels(range(1, n + 1) if inference.gives == "boxes" else range(n), inference.ignored_labels())
