"""Rules that look at several keys of a config; each fault is at the key to change."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ddpkit.config import schema
from ddpkit.config.component_refs import PARTS, WANDB, columns_of, fits
from ddpkit.config.converter import Fault
from ddpkit.errors import KeyPath, suggest
from ddpkit.plugins import local_files


def warnings_of(run: schema.Run) -> Iterator[Fault]:
    """What is allowed, and may not be meant."""
    n_named, n_outputs = len(run.classes), run.model.config.params.get("n_classes", len(run.classes))
    if n_named and isinstance(n_outputs, int) and not fits(n_named, n_outputs):
        rest = "missing names are numbered" if n_named < n_outputs else "the last names are of none"
        message = f"{n_named} classes are named, the model has {n_outputs} outputs; {rest}"
        yield Fault(("classes",), message, at_key=True)
    table = run.train.lr_scheduler
    if table and table.warmup > run.train.epoch:
        message = f"the warm-up of {table.warmup:g} epochs is longer than the run of {run.train.epoch}"
        yield Fault(("train", "lr_scheduler", "warmup"), message)


def rank_faults(run: schema.Run, n_ranks: int) -> Iterator[Fault]:
    """`train.batch_size` is over all ranks, each takes an equal part; one device is for one rank."""
    size, n_shards = run.train.batch_size, max(n_ranks, run.ddp.virtual_shards)
    if size % n_shards:
        nearest = [whole for whole in (size - size % n_shards, size - size % n_shards + n_shards) if whole]
        sizes = " or ".join(map(str, nearest))
        worlds = " or ".join(str(n) for n in range(1, n_shards) if size % n == 0)
        kind, more = ("ranks", f", or --nproc {worlds}") if n_shards == n_ranks else ("virtual shards", "")
        yield Fault(("train", "batch_size"), f"{size} samples cannot be shared by {n_shards} {kind}; use {sizes}{more}")
    if run.ddp.virtual_shards > 1 and n_ranks > run.ddp.virtual_shards:
        yield Fault(("ddp", "virtual_shards"), f"goes with 1 or 2 ranks, and these are {n_ranks}; leave it out")
    if run.ddp.virtual_shards > 1 and run.ddp.sync_batchnorm:
        yield Fault(("ddp", "virtual_shards"), "takes shards in turn, and 'sync_batchnorm' wants them at once; keep one")
    if ":" in run.device and n_ranks > 1:
        yield Fault(("device",), f"{run.device!r} is one GPU for {n_ranks} ranks; write 'cuda'")


def backend_faults(run: schema.Run) -> Iterator[Fault]:
    """Nccl is CUDA's."""
    if run.device == "cpu" and run.ddp.backend == "nccl":
        yield Fault(("ddp", "backend"), "'nccl' needs CUDA, and 'device' is cpu; leave it out")


def start_faults(run: schema.Run) -> Iterator[Fault]:
    """A run begins with weights, which are there, or goes on from a checkpoint."""
    file = run.model.pretrained
    if file and not Path(file).is_file():
        yield Fault(("model", "pretrained"), f"there is no file {file}")
    if file and run.model.continue_checkpoint:
        yield Fault(("model", "pretrained"), "goes with a new run, and 'continue_checkpoint' goes on with an old one; keep one")


def input_faults(run: schema.Run) -> Iterator[Fault]:
    """Inputs to try the model with: a dtype each."""
    sizes, dtypes = run.model.config.input_sizes, run.model.config.dtypes
    if dtypes and len(dtypes) != len(sizes):
        message = f"{len(dtypes)} dtypes for {len(sizes)} input_sizes; give one each"
        yield Fault(("model", "config", "dtypes"), message)
    for number, size in enumerate(sizes):
        if not size or min(size) < 1:
            yield Fault(("model", "config", "input_sizes", number), f"a shape has numbers from 1, got {size}")


def class_faults(run: schema.Run) -> Iterator[Fault]:
    """Tables and predictions tell classes apart by their names."""
    if doubles := [name for name, count in Counter(run.classes).items() if count > 1]:
        yield Fault(("classes",), f"each class has a name of its own; twice there are {', '.join(map(repr, doubles))}")


def folder_faults(run: schema.Run) -> Iterator[Fault]:
    """`base_dir` became `root_dir` when the file was read, so two folders cannot be told from one here."""
    if run.dataset.base_dir:
        yield Fault(("dataset", "base_dir"), "'root_dir' is another folder; keep one of the two")


def fraction_faults(run: schema.Run) -> Iterator[Fault]:
    """Parts that are fractions are one whole at most."""
    given = {part: run.dataset.split.params.get(part) for part in PARTS}
    fractions = {part: value for part, value in given.items() if isinstance(value, float)}
    total = sum(value for value in given.values() if isinstance(value, int | float))
    outside = [part for part, value in fractions.items() if not 0 <= value <= 1]
    for part in outside:
        yield Fault(("dataset", "split", part), f"a fraction is from 0 to 1, not {fractions[part]:g}")
    if fractions and not outside and total > 1 + 1e-9:
        part = list(fractions)[-1]
        yield Fault(("dataset", "split", part), f"the fractions add up to {total:g}; lower one, so that they are 1 at most")


def key_faults(run: schema.Run) -> Iterator[Fault]:
    """Two columns of history cannot have one name."""
    columns = columns_of(run)
    counts = Counter(reference.key for reference in columns)
    for reference in columns:
        if counts[reference.key] > 1 or reference.key == "loss":
            yield Fault(reference.path, f"{reference.key!r} is taken in history; give this entry a 'name'")


def monitor_faults(run: schema.Run) -> Iterator[Fault]:
    """What decides is measured."""
    known = ["loss", *(reference.key for reference in columns_of(run))]
    stopping = run.train.early_stopping
    monitors = {("output", "monitor"): run.output.monitor, ("train", "early_stopping", "monitor"): stopping and stopping.monitor}
    for path, monitor in monitors.items():
        if monitor and monitor not in known:
            yield Fault(path, f"nothing is measured as {monitor!r}, {suggest(monitor, known)}")


def metric_faults(run: schema.Run) -> Iterator[Fault]:
    """Metrics take predictions."""
    if run.metrics and not run.postprocess:
        yield Fault(("metrics",), "metrics need a 'postprocess' that makes predictions of the model's outputs", at_key=True)


def logger_faults(run: schema.Run) -> Iterator[Fault]:
    """One run at W&B for one run."""
    if run.private.wandb and any(logger.type.rpartition("/")[2] == WANDB for logger in run.private.loggers):
        yield Fault(("private", "wandb"), f"is the logger {WANDB!r}, which 'loggers' names too; keep one")


def warmup_faults(run: schema.Run) -> Iterator[Fault]:
    """By epoch, a warm-up cannot end within one, and its first epoch trains at `warmup_lr`."""
    table = run.train.lr_scheduler
    if table is None or not table.warmup or table.update_policy == "step":
        return
    if table.warmup % 1:
        message = f"{table.warmup:g} epochs are not whole, which needs update_policy = 'step'"
        yield Fault(("train", "lr_scheduler", "warmup"), message)
    if not table.warmup_lr:
        message = "the first epoch would train at rate 0; set it above, or use update_policy = 'step'"
        yield Fault(("train", "lr_scheduler", "warmup_lr"), message)


def sampler_faults(run: schema.Run) -> Iterator[Fault]:
    """What is drawn has no order to keep."""
    if run.dataloader.sampler and not run.dataloader.shuffle:
        yield Fault(
            ("dataloader", "sampler"), f"{run.dataloader.sampler!r} draws samples in a new order; leave 'shuffle = false' out"
        )


def file_faults(run: schema.Run) -> Iterator[Fault]:
    """Files of one's own parts are there and can be imported by their names."""
    for number, file in enumerate(run.plugins.files):
        if message := local_files.fault(Path(file)):
            yield Fault(("plugins", "files", number), message)


RULES: tuple[tuple[tuple[KeyPath, ...], Callable[[schema.Run], Iterable[Fault]]], ...] = (
    ((("device",), ("ddp", "backend")), backend_faults),
    ((("model", "pretrained"), ("model", "continue_checkpoint")), start_faults),
    ((("model", "config"),), input_faults),
    ((("classes",),), class_faults),
    ((("dataset",),), folder_faults),
    ((("dataset", "split"),), fraction_faults),
    ((("metrics",), ("criterion",)), key_faults),
    ((("metrics",), ("criterion",), ("output", "monitor"), ("train", "early_stopping")), monitor_faults),
    ((("metrics",), ("postprocess",)), metric_faults),
    ((("private",),), logger_faults),
    ((("train", "lr_scheduler"),), warmup_faults),
    ((("dataloader",),), sampler_faults),
    ((("plugins", "files"),), file_faults),
)
"""Rules with the keys that they read: one with a mistake at such a key is passed over."""
