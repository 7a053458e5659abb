"""TOML format of a run: one class per table in the order of the file, and one `key` per key.

Paths are relative to the current folder, unless their help says otherwise.
"""

from typing import Any, Literal

import attrs

from ddpkit.config.validators import LogFormat, Pattern, Range

A_NAME = Pattern(r"(?!\.{1,2}$)[A-Za-z0-9._-]*", "a name of letters, digits, '.', '_' and '-', but not '.' or '..'")
Device = Pattern(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")


def key(english: str, chinese: str, default: Any = attrs.NOTHING, *, limits: Any = None, unit: str = "", **marks: Any) -> Any:
    """Define a key of a table.

    Args:
        english: Help text in English, one line.
        chinese: Help text in Chinese, one line.
        default: Default value; a key without one is required. The help says what None means.
        limits: Validator that is applied in addition to the type check.
        unit: Unit of a number.
        marks: `rest=True`: the field receives all keys of the table that have no field; they are the parameters of the
            component. `shorthand=True`: a bare string in place of the table, or of an array of tables, sets this field.
            `synonym=True`: another key of the table means the same; `explain` shows this one only if it is set.
    """
    return attrs.field(default=default, validator=limits, metadata={"help": (english, chinese), "unit": unit, **marks})


def a_list() -> Any:
    """Return the default of an optional key whose value is a list: the empty list."""
    return attrs.Factory(list)


def a_table() -> Any:
    """Return the default of an optional key whose value is a table: the empty table."""
    return attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class Metric:
    """Entry of `metrics`: a name or a table.

    `metrics` 中的一项：名称或表。
    """

    type: str = key("Name of the metric.", "指标名称。", shorthand=True)
    name: str = key(
        "Name of its column in the history; required if two entries have the same type.",
        "在历史记录中的列名；两项类型相同时必须设置。",
        "",
    )
    on: str = key(
        "Entry of the model's outputs and of the targets that the metric gets, if these are mappings; empty = all of them.",
        "当模型输出和目标为映射时，指标使用其中的哪一项；空表示全部。",
        "",
    )
    config: dict[str, Any] = key("Parameters of the metric.", "指标的参数。", a_table())


@attrs.frozen(kw_only=True)
class Postprocess:
    """Conversion of the model's outputs to predictions: a name or a table.

    将模型输出转换为预测结果：名称或表。
    """

    type: str = key("Name of the postprocess.", "后处理名称。", shorthand=True)
    config: dict[str, Any] = key("Parameters of the postprocess.", "后处理的参数。", a_table())


@attrs.frozen(kw_only=True)
class Ddp:
    """Processes (ranks) of a run.

    一次运行的进程（rank）。
    """

    enabled: bool = key("Train with several processes; false = one process.", "使用多进程训练；false 表示单进程。", default=True)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = key(
        "Log level of rank 0; the other ranks log only errors.", "0 号进程的日志级别；其他进程只记录错误。", "INFO"
    )
    nproc: int | Literal["auto"] = key(
        "Number of ranks on this machine; auto = one per visible GPU, or 1 on the CPU. Under torchrun the environment decides.",
        "本机的进程数；auto 表示每个可见 GPU 一个进程，CPU 上为 1。用 torchrun 启动时由环境变量决定。",
        "auto",
        limits=Range(1),
    )
    backend: Literal["auto", "gloo", "nccl"] = key(
        "Communication backend; auto = nccl on CUDA, gloo on the CPU.",
        "通信后端；auto 表示 CUDA 上用 nccl，CPU 上用 gloo。",
        "auto",
    )
    find_unused_parameters: bool = key(
        "Allow parameters that get no gradient in some steps (slower).", "允许部分参数在某些步中没有梯度（较慢）。", default=False
    )
    sync_batchnorm: bool = key(
        "Compute BatchNorm statistics over all ranks.", "跨所有进程同步计算 BatchNorm 统计量。", default=False
    )
    virtual_shards: Literal[1, 2] = key(
        "2 = a run on one rank is bit-identical to a run on two ranks, except with BatchNorm; the single rank computes two shards"
        " one after the other (slower).",
        "2 表示单进程与双进程的结果逐位一致（使用 BatchNorm 时除外）；单进程会依次计算两个分片（较慢）。",
        1,
    )
    timeout: float = key(
        "Longest time to wait for a collective operation or for a loader worker; after that the run ends with an error.",
        "等待集合通信或数据加载子进程的最长时间；超时后运行报错并结束。",
        1800.0,
        limits=Range(0, above=True),
        unit="seconds",
    )


@attrs.frozen(kw_only=True)
class ModelConfig:
    """Parameters of the model, and two keys that belong to ddpkit itself.

    模型的参数，以及属于 ddpkit 本身的两个键。
    """

    input_sizes: list[list[int]] = key(
        "Input shapes [B, C, H, W] for a trial forward pass before training, and for the model summary.",
        "输入形状 [B, C, H, W]，用于训练前的试运行和模型摘要。",
        a_list(),
    )
    dtypes: list[Literal["float32", "float64", "float16", "bfloat16", "uint8", "int64"]] = key(
        "Dtypes of the `input_sizes`, one per shape; empty = float32.",
        "`input_sizes` 中各输入的数据类型，逐一对应；空表示 float32。",
        a_list(),
    )
    params: dict[str, Any] = key(
        "Parameters of the model, such as `n_channels`, `n_classes`.",
        "模型的参数，如 `n_channels`、`n_classes`。",
        a_table(),
        rest=True,
    )


@attrs.frozen(kw_only=True)
class FrozenParameters:
    """Entry of `model.freeze`: a name pattern of parameters that are not trained, or a table.

    `model.freeze` 中的一项：不参与训练的参数的名称模式，或表。
    """

    match: str = key("Name pattern of the parameters, such as `layer1.*`.", "参数的名称模式，如 `layer1.*`。", shorthand=True)
    until: int | None = key(
        "Last epoch in which they are frozen; with 5, they are trained from epoch 6 on. If omitted, they are never trained.",
        "冻结的最后一轮；值为 5 表示从第 6 轮起参与训练。不写则始终不训练。",
        None,
        limits=Range(1),
    )


@attrs.frozen(kw_only=True)
class Model:
    """Model and its initial weights.

    模型及其初始权重。
    """

    name: str = key("Name of the model: `name` or `plugin/name`.", "模型名称：`名称` 或 `插件/名称`。")
    continue_checkpoint: str = key(
        "Path of the checkpoint to resume from; the complete state is restored.",
        "要恢复的检查点的路径；恢复其全部状态并继续训练。",
        "",
    )
    continue_ext_checkpoint: str = key(
        "Deprecated: use `continue_checkpoint`; one checkpoint contains the complete state.",
        "已弃用，请改用 `continue_checkpoint`；一个检查点即包含全部状态。",
        "",
        synonym=True,
    )
    pretrained: str = key(
        "Weights file that initialises a new run: safetensors, or a torch file that contains only tensors. A head with another"
        " number of outputs is re-initialised. The weights of a first convolution with another number of channels are summed or"
        " repeated over the channels. Any other mismatch is an error.",
        "用于初始化新运行的权重文件：safetensors 文件，或只含张量的 torch 文件。输出数不同的分类头会重新初始化。输入通道数不同的"
        "首个卷积层，其权重按通道求和或重复。其他任何不匹配都会报错。",
        "",
    )
    freeze: list[FrozenParameters] = key(
        'Parameters that are not trained, or not in the first epochs, such as `["stem.*", {match = "backbone.*", until = 5}]`.',
        '不参与训练，或在最初几轮不参与训练的参数，如 `["stem.*", {match = "backbone.*", until = 5}]`。',
        a_list(),
    )
    config: ModelConfig = key("Parameters of the model.", "模型参数。", attrs.Factory(ModelConfig))


@attrs.frozen(kw_only=True)
class Criterion:
    """Term of the loss, a weighted sum: a name or a table. Logged unweighted, as `dice_loss` if a metric is called `dice`.

    损失的一项：名称或表；总损失为各项的加权和。各项以未加权的值单独记录（若有名为 `dice` 的指标，则记为 `dice_loss`）。
    """

    type: str = key("Name of the criterion.", "损失函数名称。", shorthand=True)
    name: str = key(
        "Name of its column in the history; required if two entries have the same type.",
        "在历史记录中的列名；两项类型相同时必须设置。",
        "",
    )
    on: str = key(
        "Entry of the model's outputs and of the targets that the criterion gets, if these are mappings; empty = all of them.",
        "当模型输出和目标为映射时，损失函数使用其中的哪一项；空表示全部。",
        "",
    )
    weight: float = key("Weight in the sum.", "在加权和中的权重。", 1.0)
    config: dict[str, Any] = key("Parameters of the criterion.", "损失函数的参数。", a_table())


@attrs.frozen(kw_only=True)
class Split:
    """Division of the samples into the splits train, valid and test.

    将样本划分为训练集、验证集和测试集。
    """

    type: str = key("Name of the split.", "划分方式名称。", "train_valid_test_split")
    params: dict[str, Any] = key("Parameters of the split.", "划分方式的参数。", a_table(), rest=True)


@attrs.frozen(kw_only=True)
class Dataset:
    """Dataset and its splits.

    数据集及其划分。
    """

    name: str = key("Name of the dataset.", "数据集名称。")
    root_dir: str = key("Folder of the data.", "数据根目录。", "")
    base_dir: str = key("Synonym of `root_dir`; set only one of them.", "`root_dir` 的别名；二者只设其一。", "", synonym=True)
    ref: str = key(
        "TOML or YAML file with defaults for this table and, optionally, `classes`; path relative to the file with this key.",
        "为本表提供默认值的 TOML 或 YAML 文件，也可包含 `classes`；路径相对于写有此键的文件。",
        "",
    )
    config: dict[str, Any] = key("Parameters of the dataset.", "数据集的参数。", a_table())
    on_error: Literal["stop", "skip"] = key(
        "What happens at an unreadable sample. stop = the run ends; skip = it is replaced by another sample in training and left "
        "out in evaluation.",
        "遇到无法读取的样本时：stop 表示结束运行；skip 表示训练时用另一个样本代替，评估时略过。",
        "stop",
    )
    max_skipped: float = key(
        'Largest share of the dataset\'s samples that may be unreadable with `on_error = "skip"`; more end the run.',
        '`on_error = "skip"` 时，无法读取的样本占数据集的最大比例；超过则结束运行。',
        0.01,
        limits=Range(0, 1),
    )
    split: Split = key("Division into splits.", "数据集的划分。", attrs.Factory(Split))


@attrs.frozen(kw_only=True)
class Dataloader:
    """Loading of samples. `shuffle`, `drop_last` and `sampler` affect only training; evaluation reads each sample once, in order.

    样本的加载。`shuffle`、`drop_last` 和 `sampler` 只影响训练；评估时按顺序读取每个样本恰好一次。
    """

    num_workers: int = key(
        "Number of loader processes per rank; 0 = the rank itself loads the samples.",
        "每个进程的数据加载子进程数；0 表示由进程自己加载。",
        0,
        limits=Range(0),
    )
    persistent_workers: bool = key("Keep the loader processes between epochs.", "各轮之间保留数据加载子进程。", default=True)
    shuffle: bool = key("Shuffle the samples in each epoch.", "每轮重新打乱样本顺序。", default=True)
    pin_memory: bool = key(
        "Use page-locked memory for faster copies to the GPU; CUDA only.",
        "使用锁页内存以加快向 GPU 的拷贝；仅用于 CUDA。",
        default=True,
    )
    drop_last: bool = key(
        "Leave out a short last batch; false = it is shared evenly by the ranks, and weighted by its number of samples.",
        "丢弃最后不足一批的样本；false 表示将其均匀分配给各进程，并按样本数加权。",
        default=False,
    )
    shuffle_buffer: int = key(
        "Number of samples in the shuffle buffer of each loader worker; only for streams. 0 = each shard keeps its order.",
        "每个数据加载子进程的打乱缓冲区的样本数；仅用于流式数据集。0 表示保持每个分片内的顺序。",
        1000,
        limits=Range(0),
    )
    sampler: Literal["", "balanced"] = key(
        "balanced = each class is drawn equally often; the number of samples per epoch does not change.",
        "balanced 表示每个类别被抽取的次数相同；每轮的样本数不变。",
        "",
    )


@attrs.frozen(kw_only=True)
class Optimizer:
    """Optimizer and its parameters: a name or a table.

    优化器及其参数：名称或表。
    """

    type: str = key("Name of the optimizer.", "优化器名称。", shorthand=True)
    learning_rate: float | None = key(
        "Learning rate; if omitted, the default of the optimizer.", "学习率；不写则使用优化器的默认值。", None, limits=Range(0)
    )
    groups: list[dict[str, Any]] = key(
        'Settings by parameter name, such as `{match = "backbone.*", learning_rate = 1e-5}`; the first matching group is used.',
        '按参数名设置，如 `{match = "backbone.*", learning_rate = 1e-5}`；使用第一个匹配的组。',
        a_list(),
    )
    decay_norm_and_bias: bool = key(
        "Apply weight decay to normalisation layers and biases too.", "对归一化层和偏置也使用权重衰减。", default=True
    )
    params: dict[str, Any] = key(
        "Parameters of the optimizer, such as `weight_decay`, `betas`.",
        "优化器的参数，如 `weight_decay`、`betas`。",
        a_table(),
        rest=True,
    )


@attrs.frozen(kw_only=True)
class LrScheduler:
    """Learning-rate schedule with optional warm-up: a name or a table.

    学习率调度，可带预热：名称或表。
    """

    type: str = key("Name of the learning-rate schedule.", "学习率调度器名称。", shorthand=True)
    warmup: float = key(
        "Length of the linear learning-rate warm-up.", "学习率线性预热的长度。", 0.0, limits=Range(0), unit="epochs"
    )
    warmup_lr: float = key("Learning rate at the start of the warm-up.", "预热开始时的学习率。", 0.0, limits=Range(0))
    update_policy: Literal["epoch", "step"] = key(
        "Update the learning rate after each epoch, or after each optimizer step.", "每轮或每个优化步之后更新学习率。", "epoch"
    )
    params: dict[str, Any] = key(
        "Parameters of the schedule, such as `min_lr`.", "调度器的参数，如 `min_lr`。", a_table(), rest=True
    )


@attrs.frozen(kw_only=True)
class OptimizerPart(Optimizer):
    """One of several optimizers: it trains the parameters that it matches. See docs/optimizers.md.

    多个优化器之一：训练与其匹配的参数。见 docs/optimizers.md。
    """

    name: str = key(
        "Name of the optimizer; its column in the history is `learning_rate/NAME`.",
        "优化器的名字；它在历史记录中的列名为 `learning_rate/NAME`。",
        limits=Pattern(r"[A-Za-z0-9._-]+", "a name of letters, digits, '.', '_' and '-'"),
    )
    match: str | list[str] = key(
        "Name patterns of its parameters, such as `backbone.*`; a parameter belongs to the first optimizer that matches. Only the"
        " last optimizer may omit this key: it gets all other parameters.",
        "其参数的名称模式，如 `backbone.*`；每个参数属于第一个匹配的优化器。只有最后一个优化器可以不写此键：它得到其余全部参数。",
        a_list(),
    )
    lr_scheduler: LrScheduler | None = key(
        "Learning-rate schedule of this optimizer; if omitted, `[train.lr_scheduler]`.",
        "该优化器的学习率调度器；不写则使用 `[train.lr_scheduler]`。",
        None,
    )
    grad_clip_norm: float | None = key(
        "Maximum norm of the gradient of these parameters; 0 = no clipping; if omitted, `train.grad_clip_norm`.",
        "该优化器的参数梯度的最大范数；0 表示不裁剪；不写则使用 `train.grad_clip_norm`。",
        None,
        limits=Range(0),
    )


@attrs.frozen(kw_only=True)
class Step:
    """Computation of the losses of a micro-batch, and its parameters: a name or a table. See docs/steps.md.

    一个微批次的损失计算及其参数：名称或表。见 docs/steps.md。
    """

    type: str = key("Name of the step.", "训练步名称。", "supervised", shorthand=True)
    params: dict[str, Any] = key("Parameters of the step.", "训练步的参数。", a_table(), rest=True)


@attrs.frozen(kw_only=True)
class Helper:
    """Frozen model whose outputs the training uses, such as a teacher. On a resume, it must have the same weights as before.

    不参与训练、仅由训练使用其输出的模型，如教师模型。恢复运行时，其权重必须与之前相同。
    """

    name: str = key("Name of the model: `name` or `plugin/name`.", "模型名称：`名称` 或 `插件/名称`。")
    pretrained: str = key(
        "Weights file: safetensors, or a torch file that contains only tensors, such as `weights/best.safetensors` of a run. Its"
        " tensors must be exactly those of the model. Empty = the initial weights of the model; random ones depend on `seed`.",
        "权重文件：safetensors 文件，或只含张量的 torch 文件，如某次运行的 `weights/best.safetensors`；其张量必须与模型完全一致。"
        "空表示使用模型的初始权重；若为随机权重，则由 `seed` 决定。",
        "",
    )
    config: dict[str, Any] = key(
        "Parameters of the model. Its `n_classes` is that of `[model]`, unless it is set here.",
        "模型的参数。`n_classes` 与 `[model]` 的相同，除非在此设置。",
        a_table(),
    )


@attrs.frozen(kw_only=True)
class Scaler:
    """Floating-point precision of the computation.

    计算所用的浮点精度。
    """

    compute_type: Literal["float32", "bfloat16", "float16", "float64"] = key(
        "Data type; bfloat16 and float16 = mixed precision; float64 = model and images in double precision, for checks.",
        "数据类型；bfloat16 和 float16 表示混合精度；float64 表示模型与图像均用双精度，用于验证正确性。",
        "float32",
    )


@attrs.frozen(kw_only=True)
class EarlyStopping:
    """Conditions for stopping before the last epoch.

    提前停止的条件。
    """

    patience: int = key(
        "Stop after this number of epochs without an improvement.", "连续多少轮没有改善则停止。", limits=Range(1), unit="epochs"
    )
    min_delta: float = key(
        "An improvement counts only if it is larger than this value.", "改善幅度大于该值才算改善。", 0.0, limits=Range(0)
    )
    monitor: str = key(
        "Value to observe: `loss` or a metric of the validation split; empty = the loss, or the first metric if the model"
        " computes its losses itself.",
        "监控的值：`loss` 或验证集上的某个指标；空表示损失，模型自己计算损失时为第一个指标。",
        "",
    )


@attrs.frozen(kw_only=True)
class Train:
    """Settings of the training.

    训练设置。
    """

    batch_size: int = key(
        "Number of samples of a micro-batch over all ranks; each rank gets an equal share.",
        "一个微批次在所有进程上的样本总数；各进程平均分配。",
        limits=Range(1),
        unit="samples",
    )
    epoch: int = key("Passes over the training split.", "训练轮数。", limits=Range(1), unit="epochs")
    save_period: float = key(
        "Save a permanent checkpoint every N epochs. A value between 0 and 1 is a fraction of all epochs; 0 = only at the end.",
        "每隔多少轮保存一个永久检查点。0 到 1 之间的值表示总轮数的比例；0 表示仅在结束时保存。",
        0.0,
        unit="epochs",
    )
    save_recovery_period: float = key(
        "Save a rolling checkpoint every N epochs; only the newest rolling checkpoints are kept. A value between 0 and 1 is a"
        " fraction of all optimizer steps; 0 = off.",
        "每隔多少轮保存一个滚动检查点；只保留最新的几个滚动检查点。0 到 1 之间的值表示总优化步数的比例；0 表示关闭。",
        0.0,
        unit="epochs",
    )
    save_recovery_seconds: float = key(
        "Save a rolling checkpoint every N seconds; 0 = off.",
        "每隔多少秒保存一个滚动检查点；0 表示关闭。",
        600.0,
        unit="seconds",
        limits=Range(0),
    )
    save_recovery_keep: int = key(
        "How many of the newest rolling checkpoints to keep.",
        "保留最新的多少个滚动检查点。",
        2,
        unit="checkpoints",
        limits=Range(2),
    )
    grad_accumulation_steps: int = key(
        "Number of micro-batches per optimizer step; 0 or less means 1.", "每个优化步的微批次数；小于等于 0 视为 1。", 1
    )
    grad_clip_norm: float = key(
        "Maximum norm of the gradient over all parameters; 0 = no clipping. With several optimizers, the limit applies to each.",
        "所有参数梯度的最大范数；0 表示不裁剪。有多个优化器时，分别限制每个优化器的梯度。",
        0.0,
        limits=Range(0),
    )
    ema_decay: float = key(
        "Decay of the exponential moving average (EMA) of the weights; smaller in the first steps; 0 = no EMA. The EMA is also"
        " evaluated (`ema/...`) and saved (`ema-best.safetensors`).",
        "权重的指数滑动平均（EMA）的衰减系数；最初几步较小；0 表示不使用。EMA 也会被评估（`ema/...`）和保存"
        "（`ema-best.safetensors`）。",
        0.0,
        limits=Range(0, 1),
    )
    channels_last: bool = key(
        "Use the memory format channels_last for images and model.", "图像与模型使用 channels_last 内存格式。", default=False
    )
    compile: bool = key("Compile the model with torch.compile.", "用 torch.compile 编译模型。", default=False)
    deterministic: bool = key(
        "Use only deterministic kernels: repeated runs are then bit-identical on CUDA too, but slower. On the CPU, they always"
        " are.",
        "只使用确定性算子：CUDA 上重复运行的结果也会逐位一致，但较慢。CPU 上的结果总是逐位一致。",
        default=False,
    )
    matmul_precision: Literal["highest", "high", "medium"] = key(
        "Precision of float32 matrix products in torch.", "torch 的 float32 矩阵乘法精度。", "highest"
    )
    on_nonfinite: Literal["stop", "skip"] = key(
        "stop = a loss that is infinite or NaN ends the run within 100 steps; skip = a step whose gradient is infinite or NaN is"
        " skipped.",
        "stop 表示损失为无穷或 NaN 时，运行在 100 步之内结束；skip 表示跳过梯度为无穷或 NaN 的步。",
        "stop",
    )
    optimizer: Optimizer | list[OptimizerPart] = key(
        "Optimizer of the training, or several: `[[train.optimizer]]`.", "优化器；也可以有多个：`[[train.optimizer]]`。"
    )
    lr_scheduler: LrScheduler | None = key(
        "Learning-rate schedule; if omitted, the learning rate is constant.", "学习率调度器；不写则学习率不变。", None
    )
    step: Step = key(
        "Computation of the losses; `supervised` = `[[criterion]]` of the model's outputs.",
        "损失的计算方式；`supervised` 表示对模型输出计算 `[[criterion]]`。",
        attrs.Factory(Step),
    )
    helpers: dict[str, Helper] = key(
        "Frozen models whose outputs the training uses, such as a teacher: one table `[train.helpers.NAME]` each.",
        "不参与训练、仅由训练使用其输出的模型，如教师模型：每个模型一个表 `[train.helpers.名称]`。",
        a_table(),
    )
    scaler: Scaler = key("Floating-point precision of the computation.", "计算所用的浮点精度。", attrs.Factory(Scaler))
    early_stopping: EarlyStopping | None = key("Early stopping; if omitted, off.", "提前停止；不写则不提前停止。", None)


@attrs.frozen(kw_only=True)
class Valid:
    """Settings of the validation during training.

    训练期间的验证设置。
    """

    batch_size: int | None = key(
        "Number of samples of a batch over all ranks; if omitted, the value of `[test]`, or else of `[train]`.",
        "一批在所有进程上的样本总数；不写则使用 `[test]` 的值；若也未写，则使用 `[train]` 的值。",
        None,
        limits=Range(1),
        unit="samples",
    )
    every: int = key("Validate every N epochs.", "每隔多少轮验证一次。", 1, limits=Range(1), unit="epochs")


@attrs.frozen(kw_only=True)
class Test:
    """Settings of the test of the best weights.

    用最佳权重进行测试的设置。
    """

    batch_size: int | None = key(
        "Number of samples of a batch over all ranks; if omitted, the value of `[train]`.",
        "一批在所有进程上的样本总数；不写则使用 `[train]` 的值。",
        None,
        limits=Range(1),
        unit="samples",
    )


@attrs.frozen(kw_only=True)
class PredictConfig:
    """Output of a prediction.

    预测的输出。
    """

    output_format: str = key("Name of the writer: json, csv, numpy.", "输出格式（写出器名称）：json、csv、numpy。", "json")
    save_images: bool = key(
        "Also save each image in its original size, with the predicted mask, boxes or labels drawn on it.",
        "同时按原尺寸保存每张图像，并在其上绘制预测的掩码、边界框或标签。",
        default=False,
    )
    threshold: float = key(
        "Minimum probability of a positive prediction: the second of two classes, a label (multi-label) or a box (detection).",
        "判为正类的最小概率：用于两类中的第二类、标签（多标签）或边界框（检测）。",
        0.5,
        limits=Range(0, 1),
    )
    top_k: int = key("How many of the most probable classes to list.", "列出概率最高的多少个类别。", 1, limits=Range(1))
    mode: Literal["", "RGB", "L"] = key(
        "Mode for reading images: colour or grayscale; empty = the mode of the dataset or, if it has none, according to"
        " `model.config.n_channels`.",
        "读取图像的模式：彩色或灰度；空表示与数据集相同；若数据集未指定，则由 `model.config.n_channels` 决定。",
        "",
    )
    params: dict[str, Any] = key("Parameters of the writer.", "写出器的参数。", a_table(), rest=True)


@attrs.frozen(kw_only=True)
class Predict:
    """Prediction on new images (`mode` 4 or `--task predict`).

    对新图像预测（`mode` 4 或 `--task predict`）。
    """

    input: str = key("Images to predict: file, folder or glob pattern.", "要预测的图像：文件、文件夹或通配符。", "")
    batch_size: int | None = key(
        "Number of samples of a batch over all ranks; if omitted, the value of `[test]`, or else of `[train]`.",
        "一批在所有进程上的样本总数；不写则使用 `[test]` 的值；若也未写，则使用 `[train]` 的值。",
        None,
        limits=Range(1),
        unit="samples",
    )
    config: PredictConfig = key("Output of the prediction.", "预测的输出。", attrs.Factory(PredictConfig))


@attrs.frozen(kw_only=True)
class Log:
    """Log file of rank 0, and messages on the terminal.

    0 号进程的日志文件与终端消息。
    """

    verbose: bool = key(
        "Show all messages on the terminal; false = only warnings and errors. The log file contains all messages in both cases.",
        "在终端显示全部消息；false 表示只显示警告与错误。两种情况下日志文件都包含全部消息。",
        default=True,
    )
    debug: bool = key("Use the log level DEBUG instead of `ddp.log_level`.", "用 DEBUG 级别代替 `ddp.log_level`。", default=False)
    log_file_format: str = key(
        "Name of the log file, as a strftime format.",
        "日志文件名（strftime 格式）。",
        "%Y-%m-%d %H_%M_%S",
        limits=Pattern(r"[^/\\]+", "a file name without '/' and '\\'"),
    )
    log_format: str = key(
        "Format of a log line, as defined by Python's logging module.",
        "日志行的格式，由 Python 的 logging 模块定义。",
        "%(asctime)s %(levelname)s | %(name)s | %(message)s",
        limits=LogFormat(),
    )
    every_seconds: float = key(
        "Log a progress line at least every N seconds if the messages do not go to a terminal.",
        "消息不输出到终端时，至少每隔多少秒记录一行进度。",
        60.0,
        unit="seconds",
        limits=Range(0, above=True),
    )


@attrs.frozen(kw_only=True)
class Logger:
    """Entry of `private.loggers`: a name or a table.

    `private.loggers` 中的一项：名称或表。
    """

    type: str = key("Name of the logger.", "记录器名称。", shorthand=True)
    config: dict[str, Any] = key("Parameters of the logger.", "记录器的参数。", a_table())


@attrs.frozen(kw_only=True)
class Private:
    """Mode, loggers and log of a run.

    运行模式、记录器与日志。
    """

    wandb: bool = key(
        "Send the history to Weights & Biases with the logger `wandb`; the project is `task`. If the package or the network is"
        " missing, the run continues with a warning.",
        "用记录器 `wandb` 将历史记录发送到 Weights & Biases；项目名为 `task` 的值。缺少软件包或网络时只给出警告，运行继续。",
        default=False,
    )
    mode: Literal[0, 1, 2, 3, 4, 5, 6, 7] = key(
        "Bit mask: 1 train, 2 test, 4 predict; 0 = train, then test the best weights.",
        "位掩码：1 训练，2 测试，4 预测；0 = 训练后用最佳权重测试。",
        0,
    )
    loggers: list[Logger] = key(
        "Loggers in addition to the history files and the terminal.", "历史文件与终端之外的其他记录器。", a_list()
    )
    log_images: int = key(
        "Maximum number of test samples whose pictures are saved for the report and the loggers: half of them have the largest"
        " errors, half the smallest; 0 = none.",
        "为报告和记录器保存图片的测试样本的最大数量：一半误差最大，一半误差最小；0 表示不保存。",
        16,
        limits=Range(0),
        unit="samples",
    )
    report: bool = key(
        "Write `report.html` and its pictures at the end of the run; `ddpkit report` writes them at any time.",
        "运行结束时写出 `report.html` 及其图片；也可随时用 `ddpkit report` 写出。",
        default=True,
    )
    log: Log = key("Log file and terminal messages.", "日志文件与终端消息。", attrs.Factory(Log))


@attrs.frozen(kw_only=True)
class Output:
    """Weights files that a run saves.

    运行保存的权重文件。
    """

    save_best: bool = key(
        "Save the best weights as `weights/best.safetensors`.", "将最佳权重保存为 `weights/best.safetensors`。", default=True
    )
    save_last: bool = key(
        "Save the last weights as `weights/last.safetensors`.", "将最后的权重保存为 `weights/last.safetensors`。", default=True
    )
    save_interval: int = key(
        "Also save the weights every N epochs, as `weights/epoch-0010.safetensors`; 0 = never.",
        "每隔多少轮另存一次权重（`weights/epoch-0010.safetensors`）；0 表示不保存。",
        0,
        limits=Range(0),
        unit="epochs",
    )
    monitor: str = key(
        "Value that selects the best weights: `loss` or a metric; empty = the loss, or the first metric if the model computes its"
        " losses itself.",
        "选择最佳权重的依据：`loss` 或某个指标；空表示损失，模型自己计算损失时为第一个指标。",
        "",
    )


@attrs.frozen(kw_only=True)
class Plugins:
    """Policy for plugins. Plugins are listed by the name of the entry point, the namespace or the distribution.

    插件策略。可用入口点名称、命名空间或发行包名称指代插件。
    """

    block: list[str] = key("Blocked plugins; they are not imported.", "屏蔽的插件；不会被导入。", a_list())
    allow: list[str] = key(
        "Allowed third-party plugins; if set, all other third-party plugins are blocked.",
        "允许的第三方插件；设置后，其他所有第三方插件都被屏蔽。",
        a_list(),
    )
    enable: list[str] = key(
        "Installed plugins whose run hooks are called: functions at the start, end and other events of a run.",
        "会调用其运行钩子的已安装插件；运行钩子是在运行开始、结束等时刻调用的函数。",
        a_list(),
    )
    config: dict[str, dict[str, Any]] = key(
        "Parameters of the run hooks of enabled plugins: one table `[plugins.config.NAME]` per plugin.",
        "已启用插件的运行钩子的参数：每个插件一个表 `[plugins.config.名称]`。",
        a_table(),
    )
    prefer: dict[str, str] = key(
        'Namespace to use for a name that several plugins define: `name = "namespace"`, or `"kind.name" = "namespace"`.',
        '多个插件定义同一名称时使用的命名空间：`name = "namespace"` 或 `"kind.name" = "namespace"`。',
        a_table(),
    )
    files: list[str] = key(
        "Python files with your own components and run hooks; paths relative to this file.",
        "包含自己的组件和运行钩子的 Python 文件；路径相对于本文件。",
        a_list(),
    )


@attrs.frozen(kw_only=True)
class Run:
    """Top level of the file.

    文件顶层的键。
    """

    extends: str = key(
        "Base TOML file to inherit from; path relative to this file.", "要继承的基础 TOML 文件；路径相对于本文件。", ""
    )
    output_dir: str = key("Root folder of all runs.", "所有运行的根目录。", "./runs")
    task: str = key(
        "Name of the experiment, and of its folder in `output_dir`.",
        "实验名称，也是其在 `output_dir` 下的文件夹名。",
        "default",
        limits=A_NAME,
    )
    entity: str = key("Entity (user or team) at Weights & Biases.", "Weights & Biases 的实体（用户或团队）。", "", limits=A_NAME)
    run_id: str = key(
        "Name of the run folder; empty = generated at the start of the run.",
        "运行文件夹的名称；空表示在运行开始时自动生成。",
        "",
        limits=A_NAME,
    )
    device: str = key(
        "Device of the run; auto = CUDA if each rank has its own GPU, otherwise the CPU.",
        "运行所用的设备；auto 表示每个进程都有自己的 GPU 时用 CUDA，否则用 CPU。",
        "auto",
        limits=Device,
    )
    seed: int = key(
        "Seed of all random numbers; -1 = drawn at the start of the run, and recorded.",
        "所有随机数的种子；-1 表示在运行开始时随机生成并记录。",
        0,
        limits=Range(-1),
    )
    classes: list[str] = key("Names of the classes.", "类别名称。", a_list())
    metrics: list[Metric] = key("Metrics to compute in addition to the loss.", "除损失外要计算的指标。", a_list())
    postprocess: Postprocess | None = key("Conversion of the model's outputs to predictions.", "将模型输出转换为预测结果。", None)
    ddp: Ddp = key("Processes of the run.", "运行的进程。", attrs.Factory(Ddp))
    model: Model = key("Model to train.", "要训练的模型。")
    criterion: list[Criterion] = key(
        "Terms of the loss; if omitted, the model must compute its losses itself, as detection models do.",
        "损失的各项；不写表示由模型自己计算损失（如检测模型）。",
        a_list(),
    )
    transform: dict[str, Any] = key(
        "Transforms: name = parameters, in the order of application.", "数据变换：名称 = 参数，按书写顺序应用。", a_table()
    )
    dataset: Dataset = key("Dataset and its splits.", "数据集及其划分。")
    dataloader: Dataloader = key("Loading of samples.", "样本的加载。", attrs.Factory(Dataloader))
    train: Train = key("Settings of the training.", "训练设置。")
    valid: Valid = key("Settings of the validation.", "验证设置。", attrs.Factory(Valid))
    test: Test = key("Settings of the test.", "测试设置。", attrs.Factory(Test))
    predict: Predict = key("Settings of the prediction.", "预测设置。", attrs.Factory(Predict))
    private: Private = key("Mode, loggers and log of the run.", "运行模式、记录器与日志。", attrs.Factory(Private))
    output: Output = key("Weights files to save.", "要保存的权重文件。", attrs.Factory(Output))
    plugins: Plugins = key("Policy for plugins.", "插件策略。", attrs.Factory(Plugins))
