"""Rules that check several keys of a config together; each issue is reported at the key to change."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ddpkit.config import schema
from ddpkit.config.classes import OUTPUTS, name_warnings, output_issues
from ddpkit.config.component_refs import SPLITS, WANDB, history_columns, optimizer_tables, scheduler_path, scheduler_tables
from ddpkit.config.converter import Issue
from ddpkit.errors import KeyPath, suggest
from ddpkit.plugins import local_files


def long_warmup_warnings(run: schema.Run) -> Iterator[Issue]:
    for path, table in scheduler_tables(run.train).items():
        if table.warmup > run.train.epoch:
            message = f"the warm-up ({table.warmup:g} epochs) is longer than the training ({run.train.epoch} epochs)"
            yield Issue((*path, "warmup"), message)


def unused_scheduler_warnings(run: schema.Run) -> Iterator[Issue]:
    used = [scheduler_path(run.train, path) for path in optimizer_tables(run.train)]
    if run.train.lr_scheduler and ("train", "lr_scheduler") not in used:
        message = "is not used, because each optimizer has an 'lr_scheduler' of its own; remove one of them"
        yield Issue(("train", "lr_scheduler"), message, at_key=True)


def long_freeze_warnings(run: schema.Run) -> Iterator[Issue]:
    for number, entry in enumerate(run.model.freeze):
        if entry.until and entry.until >= run.train.epoch:
            message = f"the parameters are never trained, because the run has {run.train.epoch} epochs; use a smaller value"
            yield Issue(("model", "freeze", number, "until"), message)


def fused_issues(run: schema.Run) -> Iterator[Issue]:
    """Check that torch's fused kernel is not used with momentum if parameters are unfrozen: it fails in that epoch."""
    if not any(entry.until for entry in run.model.freeze):
        return
    for path, table in optimizer_tables(run.train).items():
        momenta = [group.get("momentum", table.params.get("momentum")) for group in (table.params, *table.groups)]
        if table.params.get("fused") is True and any(momenta):
            message = "cannot be used with 'momentum' if 'model.freeze' has entries with 'until'; remove this key"
            yield Issue((*path, "fused"), message)


def rank_issues(run: schema.Run, n_ranks: int) -> Iterator[Issue]:
    """Check the settings that depend on the number of ranks: batch size, virtual shards, device."""
    size, n_shards = run.train.batch_size, max(n_ranks, run.ddp.virtual_shards)
    if size % n_shards:  # the batch size counts over all ranks, and each rank gets an equal share
        nearest = [each for each in (size - size % n_shards, size - size % n_shards + n_shards) if each]
        sizes = " or ".join(map(str, nearest))
        worlds = " or ".join(str(n) for n in range(1, n_shards) if size % n == 0)
        kind, more = ("ranks", f", or --nproc {worlds}") if n_shards == n_ranks else ("virtual shards", "")
        yield Issue(
            ("train", "batch_size"), f"{size} samples cannot be divided equally among {n_shards} {kind}; use {sizes}{more}"
        )
    if run.ddp.virtual_shards > 1 and n_ranks > run.ddp.virtual_shards:
        yield Issue(("ddp", "virtual_shards"), f"requires at most 2 ranks; got {n_ranks}; remove this key")
    if run.ddp.virtual_shards > 1 and run.ddp.sync_batchnorm:
        yield Issue(
            ("ddp", "virtual_shards"),
            "cannot be used with 'sync_batchnorm', because a rank computes its shards one after the other; set only one of them",
        )
    if ":" in run.device and n_ranks > 1:
        yield Issue(("device",), f"{run.device!r} is a single GPU, but there are {n_ranks} ranks; write 'cuda'")


def backend_issues(run: schema.Run) -> Iterator[Issue]:
    if run.device == "cpu" and run.ddp.backend == "nccl":
        yield Issue(("ddp", "backend"), "'nccl' requires CUDA, but 'device' is 'cpu'; remove this key")


def start_issues(run: schema.Run) -> Iterator[Issue]:
    """Check that initial weights exist, and that a run is not initialised and resumed at the same time."""
    file = run.model.pretrained
    if file and not Path(file).is_file():
        yield Issue(("model", "pretrained"), f"file {file} was not found")
    if file and run.model.continue_checkpoint:
        yield Issue(
            ("model", "pretrained"), "cannot be used with 'model.continue_checkpoint', which resumes a run; set only one of them"
        )


def helper_issues(run: schema.Run) -> Iterator[Issue]:
    """Check the names of `[train.helpers]`, and that their weights files exist."""
    for name, table in run.train.helpers.items():
        path = ("train", "helpers", name)
        if not name.isidentifier():
            message = f"{name!r} cannot be the name of a helper; use letters, digits and '_', and no digit at the start"
            yield Issue(path, message, at_key=True)
        if table.pretrained and not Path(table.pretrained).is_file():
            yield Issue((*path, "pretrained"), f"file {table.pretrained} was not found")


def input_issues(run: schema.Run) -> Iterator[Issue]:
    """Check `model.config.input_sizes` and `dtypes`: one dtype per shape, all sizes at least 1."""
    sizes, dtypes = run.model.config.input_sizes, run.model.config.dtypes
    if dtypes and len(dtypes) != len(sizes):
        message = f"must have one dtype per entry of 'input_sizes' ({len(sizes)}); got {len(dtypes)}"
        yield Issue(("model", "config", "dtypes"), message)
    for number, size in enumerate(sizes):
        if not size or min(size) < 1:
            yield Issue(("model", "config", "input_sizes", number), f"must be a list of integers that are at least 1; got {size}")


def class_issues(run: schema.Run) -> Iterator[Issue]:
    """Check that class names are unique: tables and predictions identify classes by name."""
    counts = Counter(unicodedata.normalize("NFC", name) for name in run.classes)
    if doubles := [name for name, count in counts.items() if count > 1]:
        yield Issue(("classes",), f"class names must be unique; repeated: {', '.join(map(repr, doubles))}")


def folder_issues(run: schema.Run) -> Iterator[Issue]:
    if run.dataset.base_dir:  # `loading.unify_spellings` did not merge it, so `root_dir` is another folder
        yield Issue(("dataset", "base_dir"), "differs from 'root_dir'; set only one of them")


def fraction_issues(run: schema.Run) -> Iterator[Issue]:
    """Check split sizes that are fractions: each must be between 0 and 1, and their sum must be at most 1."""
    given = {part: run.dataset.split.params.get(part) for part in SPLITS}
    fractions = {part: value for part, value in given.items() if isinstance(value, float)}
    total = sum(value for value in given.values() if isinstance(value, int | float))
    outside = [part for part, value in fractions.items() if not 0 <= value <= 1]
    for part in outside:
        yield Issue(("dataset", "split", part), f"must be between 0 and 1; got {fractions[part]:g}")
    if fractions and not outside and total > 1 + 1e-9:
        part = list(fractions)[-1]
        yield Issue(("dataset", "split", part), f"the sum of the fractions must be at most 1; got {total:g}")


def key_issues(run: schema.Run) -> Iterator[Issue]:
    """Check that the columns of history have unique names, and that none is called `loss`."""
    columns = history_columns(run)
    counts = Counter(reference.key for reference in columns)
    for reference in columns:
        if counts[reference.key] > 1 or reference.key == "loss":
            example = f', such as name = "{reference.on}_{reference.key}"' if reference.on else ""
            message = f"the history already has a column {reference.key!r}; set another 'name' for this entry{example}"
            yield Issue(reference.path, message)


def monitor_issues(run: schema.Run) -> Iterator[Issue]:
    """Check that each `monitor` is the loss, a configured metric or criterion, or an optimizer, which may have a loss."""
    optimizers = [getattr(table, "name", "") for table in optimizer_tables(run.train).values()]
    known = ["loss", *(reference.key for reference in history_columns(run)), *filter(None, optimizers)]
    stopping = run.train.early_stopping
    monitors = {("output", "monitor"): run.output.monitor, ("train", "early_stopping", "monitor"): stopping and stopping.monitor}
    for path, monitor in monitors.items():
        if monitor and monitor not in known:
            yield Issue(path, f"no loss or metric is called {monitor!r}, {suggest(monitor, known)}")


def logger_issues(run: schema.Run) -> Iterator[Issue]:
    """Check that the logger `wandb` is configured only once: two loggers would create two runs at W&B."""
    if run.private.wandb and any(logger.type.rpartition("/")[2] == WANDB for logger in run.private.loggers):
        yield Issue(
            ("private", "wandb"), f"adds the logger {WANDB!r}, which 'private.loggers' already contains; set only one of them"
        )


def optimizer_issues(run: schema.Run) -> Iterator[Issue]:
    """Check `[[train.optimizer]]`: unique names, and parameters for each optimizer."""
    if not isinstance(run.train.optimizer, list):
        return
    if not run.train.optimizer:
        yield Issue(("train", "optimizer"), "must not be empty; add a table [[train.optimizer]] with 'name' and 'type'")
    names = [table.name for table in run.train.optimizer]
    for number, table in enumerate(run.train.optimizer, start=1):
        path = ("train", "optimizer", number - 1)
        if table.name in names[: number - 1]:
            yield Issue((*path, "name"), f"another optimizer has the name {table.name!r}; set another name")
        if not table.match and number < len(names):
            message = (
                "only the last optimizer may omit 'match'; set it to a pattern of parameter names, such as match = \"backbone.*\""
            )
            yield Issue(path, message)


def warmup_issues(run: schema.Run) -> Iterator[Issue]:
    """Check the warm-up of `[train.lr_scheduler]`."""
    yield from epoch_warmup_issues(run.train.lr_scheduler, ("train", "lr_scheduler"))


def own_warmup_issues(run: schema.Run) -> Iterator[Issue]:
    """Check the warm-up of each optimizer that has a schedule of its own."""
    for path, table in scheduler_tables(run.train).items():
        if path != ("train", "lr_scheduler"):
            yield from epoch_warmup_issues(table, path)


def epoch_warmup_issues(table: schema.LrScheduler | None, path: KeyPath) -> Iterator[Issue]:
    """Check a warm-up whose learning rate changes once per epoch."""
    if table is None or not table.warmup or table.update_policy == "step":
        return
    if table.warmup % 1:  # it cannot end within an epoch
        message = f"must be a whole number of epochs; got {table.warmup:g}; for a fraction, set update_policy = 'step'"
        yield Issue((*path, "warmup"), message)
    if not table.warmup_lr:  # the complete first epoch trains with this learning rate
        message = "the learning rate of the first epoch would be 0; set a larger value, or set update_policy = 'step'"
        yield Issue((*path, "warmup_lr"), message)


def sampler_issues(run: schema.Run) -> Iterator[Issue]:
    if run.dataloader.sampler and not run.dataloader.shuffle:  # samples are drawn at random, so no order can be kept
        yield Issue(
            ("dataloader", "sampler"), f"{run.dataloader.sampler!r} draws samples in random order; remove 'shuffle = false'"
        )


def file_issues(run: schema.Run) -> Iterator[Issue]:
    """Check that the files of `[plugins] files` exist and can be imported by their names."""
    for number, file in enumerate(run.plugins.files):
        if message := local_files.find_problem(Path(file)):
            yield Issue(("plugins", "files", number), message)


Rule = tuple[tuple[KeyPath, ...], Callable[[schema.Run], Iterable[Issue]]]
RULES: Sequence[Rule] = (
    ((("device",), ("ddp", "backend")), backend_issues),
    ((("model", "pretrained"), ("model", "continue_checkpoint")), start_issues),
    ((("model", "config", "input_sizes"), ("model", "config", "dtypes")), input_issues),
    ((("classes",),), class_issues),
    ((("dataset", "root_dir"), ("dataset", "base_dir")), folder_issues),
    ((("dataset", "split"),), fraction_issues),
    ((("metrics",), ("criterion",)), key_issues),
    ((("metrics",), ("criterion",), ("output", "monitor"), ("train", "early_stopping")), monitor_issues),
    ((("private", "wandb"), ("private", "loggers")), logger_issues),
    (tuple(("train", "lr_scheduler", key) for key in ("warmup", "warmup_lr", "update_policy")), warmup_issues),
    ((("train", "optimizer"),), own_warmup_issues),
    ((("train", "optimizer"),), optimizer_issues),
    ((("dataloader", "sampler"), ("dataloader", "shuffle")), sampler_issues),
    ((("model", "freeze"), ("train", "optimizer")), fused_issues),
    ((("plugins", "files"),), file_issues),
)
"""Rules, each with the key paths that it reads. A rule is skipped if one of these paths already has an issue."""
WARNINGS: Sequence[Rule] = (
    ((("classes",), OUTPUTS), name_warnings),
    ((("train", "epoch"), ("train", "lr_scheduler", "warmup"), ("train", "optimizer")), long_warmup_warnings),
    ((("train", "epoch"), ("model", "freeze")), long_freeze_warnings),
    ((("train", "lr_scheduler"), ("train", "optimizer")), unused_scheduler_warnings),
)
"""Rules for settings that are allowed but probably unintended; their issues are warnings."""
NEW_RUN_RULES: Sequence[Rule] = (((("classes",), OUTPUTS), output_issues),)
"""Further rules for new runs. For a run that exists, which may be older than the rule, the issues are warnings."""
