"""The TOML format: one class a table, in the order of the file.

Every field has its default and its limits. A field made by `later` is part of the format but not built yet: a value that
asks for something is refused at its line, never ignored. Paths are taken from the folder where the command runs.
"""

import logging
import re
from typing import Any, Literal

import attrs
from attrs.validators import ge, gt, optional

LATER = "later"
LATER_VALUES = "later values"


def later(default: Any = None) -> Any:
    """A field of the format that is not built yet. `default` and the empty values ask for nothing and are accepted."""
    return attrs.field(default=default, metadata={LATER: default})


def later_values(default: Any, *values: Any) -> Any:
    """A field some of whose values are not built yet."""
    return attrs.field(default=default, metadata={LATER_VALUES: values})


def positive_or_auto(_: object, field: "attrs.Attribute[Any]", value: int | str) -> None:
    """Validator: at least 1, or "auto"."""
    if isinstance(value, int) and value < 1:
        raise ValueError(f"'{field.name}' must be >= 1 or 'auto': {value}")


def matching(pattern: str, allowed: str) -> Any:
    """Validator: a string that the pattern describes whole; `allowed` says it in words."""

    def validator(_: object, field: "attrs.Attribute[Any]", value: str) -> None:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"'{field.name}' is {allowed}, not {value!r}")

    return validator


a_name = matching(r"(?!\.{1,2}$)[A-Za-z0-9._-]*", "made of letters, digits, '.', '_' and '-' alone")


def a_log_format(_: object, field: "attrs.Attribute[Any]", value: str) -> None:
    """Validator: a format of the logging module."""
    try:
        logging.Formatter(value)
    except ValueError as error:
        raise ValueError(f"'{field.name}' is no format of Python's logging: {error}") from error


def rest() -> Any:
    """The keys of a table that belong to the component it names."""
    return attrs.field(factory=dict, metadata={"rest": True})


def shorthand() -> Any:
    """The field that a bare string fills where a table could stand."""
    return attrs.field(metadata={"shorthand": True})


@attrs.frozen(kw_only=True)
class Metric:
    """An entry of `metrics`: a name, or a table."""

    type: str = shorthand()
    name: str = ""
    """Its key in history, when two entries have one type."""
    config: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Postprocess:
    """`postprocess`: a name, or a table."""

    type: str = shorthand()
    config: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Ddp:
    """`[ddp]`: the processes of a run."""

    enabled: bool = True
    """false = one process."""
    nproc: int | Literal["auto"] = attrs.field(default="auto", validator=positive_or_auto)
    """Ranks on this machine; `auto` = one a visible GPU, or 1 on the CPU. Under torchrun the environment decides."""
    backend: Literal["auto", "gloo", "nccl"] = "auto"
    """auto = nccl on CUDA, gloo on the CPU."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Of rank 0; the other ranks speak at ERROR."""
    find_unused_parameters: bool = False
    timeout: float = attrs.field(default=1800.0, validator=gt(0))
    """Seconds until a collective that hangs ends the run."""
    sync_batchnorm: bool = later(default=False)


@attrs.frozen(kw_only=True)
class Model:
    """`[model]`."""

    name: str
    pretrained: str = later("")
    continue_checkpoint: str = later("")
    continue_ext_checkpoint: str = later("")
    freeze: list[str] = later(attrs.Factory(list))
    config: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Criterion:
    """An entry of `[[criterion]]`; the loss is their weighted sum, each term is logged unweighted."""

    type: str
    name: str = ""
    """Its key in history, when two entries have one type."""
    weight: float = 1.0
    config: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Split:
    """`[dataset.split]`."""

    type: str = "train_valid_test_split"
    params: dict[str, Any] = rest()


@attrs.frozen(kw_only=True)
class Dataset:
    """`[dataset]`."""

    name: str
    root_dir: str = ""
    base_dir: str = ""
    """Another name of `root_dir`."""
    ref: str = later("")
    config: dict[str, Any] = attrs.field(factory=dict)
    split: Split = attrs.field(factory=Split)


@attrs.frozen(kw_only=True)
class Dataloader:
    """`[dataloader]`; `shuffle` and `drop_last` are about training, evaluation sees every sample once in order."""

    num_workers: int = attrs.field(default=0, validator=ge(0))
    """Loader processes a rank; 0 = the rank loads."""
    persistent_workers: bool = True
    shuffle: bool = True
    pin_memory: bool = True
    """Only used with CUDA."""
    drop_last: bool = False
    """false = the short last batch is dealt evenly and weighted by its samples."""
    sampler: str = later("")


@attrs.frozen(kw_only=True)
class Optimizer:
    """`[train.optimizer]`."""

    type: str
    learning_rate: float | None = attrs.field(default=None, validator=optional(ge(0)))
    """None = the optimizer's own."""
    groups: list[dict[str, Any]] = later(attrs.Factory(list))
    decay_norm_and_bias: bool = later(default=True)
    params: dict[str, Any] = rest()


@attrs.frozen(kw_only=True)
class LrScheduler:
    """`[train.lr_scheduler]`."""

    type: str
    warmup: float = attrs.field(default=0.0, validator=ge(0))
    """Epochs."""
    warmup_lr: float = attrs.field(default=0.0, validator=ge(0))
    """The rate at which the warm-up begins."""
    update_policy: Literal["epoch", "step"] = "epoch"
    params: dict[str, Any] = rest()


@attrs.frozen(kw_only=True)
class Scaler:
    """`[train.scaler]`."""

    compute_type: Literal["float32", "bfloat16", "float16", "float64"] = later_values("float32", "bfloat16", "float16")
    """float64: model and images in double precision, for proofs."""


@attrs.frozen(kw_only=True)
class Train:
    """`[train]`."""

    batch_size: int = attrs.field(validator=ge(1))
    """Samples of one micro-step over all ranks."""
    epoch: int = attrs.field(validator=ge(1))
    """Passes over the training split."""
    grad_accumulation_steps: int = 1
    """Micro-steps an optimizer step; 0 and less mean 1."""
    save_period: float = later(0.0)
    save_recovery_period: float = later(0.0)
    save_recovery_seconds: float = later(0.0)
    grad_clip_norm: float = later(0.0)
    ema_decay: float = later(0.0)
    channels_last: bool = later(default=False)
    compile: bool = later(default=False)
    deterministic: bool = later(default=False)
    matmul_precision: str = later("highest")
    on_nonfinite: str = later("stop")
    optimizer: Optimizer
    lr_scheduler: LrScheduler | None = None
    scaler: Scaler = attrs.field(factory=Scaler)
    early_stopping: dict[str, Any] = later(attrs.Factory(dict))


@attrs.frozen(kw_only=True)
class Valid:
    """`[valid]`."""

    batch_size: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Over all ranks; None = that of `[test]`, else of `[train]`."""
    every: int = later(1)


@attrs.frozen(kw_only=True)
class Test:
    """`[test]`."""

    batch_size: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Over all ranks; None = that of `[train]`."""


@attrs.frozen(kw_only=True)
class Predict:
    """`[predict]`."""

    input: str = later("")
    config: dict[str, Any] = later(attrs.Factory(dict))


@attrs.frozen(kw_only=True)
class Log:
    """`[private.log]`: the log file of rank 0 and what the terminal shows."""

    verbose: bool = True
    """false = the terminal shows warnings and errors only; the file has it all."""
    debug: bool = False
    """DEBUG instead of `ddp.log_level`."""
    log_file_format: str = attrs.field(default="%Y-%m-%d %H_%M_%S", validator=matching(r"[^/\\]+", "the name of a file"))
    """strftime of the file's name."""
    log_format: str = attrs.field(default="%(asctime)s %(levelname)s | %(name)s | %(message)s", validator=a_log_format)


@attrs.frozen(kw_only=True)
class Private:
    """`[private]`."""

    wandb: bool = later(default=False)
    mode: Literal[0, 1, 2, 3, 4, 5, 6, 7] = later_values(0, 2, 3, 4, 5, 6, 7)
    """Bit mask: 1 train, 2 test, 4 predict; 0 = train, then test the best weights."""
    loggers: list[Any] = later(attrs.Factory(list))
    log: Log = attrs.field(factory=Log)


@attrs.frozen(kw_only=True)
class Output:
    """`[output]`: the weights that a run leaves."""

    save_best: bool = True
    save_last: bool = True
    save_interval: int = attrs.field(default=0, validator=ge(0))
    """Keep the weights of every that many epochs; 0 = none."""
    monitor: str = later("")


@attrs.frozen(kw_only=True)
class Run:
    """The whole file."""

    output_dir: str = "./runs"
    task: str = attrs.field(default="default", validator=a_name)
    entity: str = attrs.field(default="", validator=a_name)
    run_id: str = attrs.field(default="", validator=a_name)
    """Empty = made when the run begins."""
    device: str = attrs.field(default="auto", validator=matching(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N"))
    seed: int = attrs.field(default=0, validator=ge(-1))
    """-1 = drawn when the run begins, and recorded."""
    classes: list[str] = attrs.field(factory=list)
    metrics: list[Metric] = attrs.field(factory=list)
    postprocess: Postprocess | None = None
    ddp: Ddp = attrs.field(factory=Ddp)
    model: Model
    criterion: list[Criterion] = attrs.field(factory=list)
    transform: dict[str, Any] = attrs.field(factory=dict)
    """Name -> parameters, in the order of application."""
    dataset: Dataset
    dataloader: Dataloader = attrs.field(factory=Dataloader)
    train: Train
    valid: Valid = attrs.field(factory=Valid)
    test: Test = attrs.field(factory=Test)
    predict: Predict = attrs.field(factory=Predict)
    private: Private = attrs.field(factory=Private)
    output: Output = attrs.field(factory=Output)
    plugins: dict[str, Any] = later(attrs.Factory(dict))
