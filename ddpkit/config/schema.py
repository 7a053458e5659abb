"""TOML format of a run: one class per table, in the order of the file, and one `key` per key.

Paths are relative to the folder where the command runs, unless their help says otherwise.
"""

from typing import Any, Literal

import attrs

from ddpkit.config.validators import LogFormat, Pattern, Range

A_NAME = Pattern(r"(?!\.{1,2}$)[A-Za-z0-9._-]*", "letters, digits, '.', '_' and '-' alone")
Device = Pattern(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")


def key(english: str, chinese: str, default: Any = attrs.NOTHING, *, limits: Any = None, unit: str = "", **marks: Any) -> Any:
    """Define a key of a table.

    Args:
        english: Help text in English, one line.
        chinese: Help text in Chinese, one line.
        default: Default value; a key without one is required. None may mean "as the help says".
        limits: Validator of the value, in addition to its type.
        unit: Unit of a number.
        marks: `rest=True`: the field receives all keys of the table that have no field of their own; they belong to the
            component. `shorthand=True`: a bare string in place of the table sets this field.
    """
    return attrs.field(default=default, validator=limits, metadata={"help": (english, chinese), "unit": unit, **marks})


def a_list() -> Any:
    """Return the default of a key that is an empty list if it is left out."""
    return attrs.Factory(list)


def a_table() -> Any:
    """Return the default of a key that is an empty table if it is left out."""
    return attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class Metric:
    """Entry of `metrics`: a name, or a table.

    `metrics` 的一项：名称，或一个表。
    """

    type: str = key("Name of the metric.", "指标名称。", shorthand=True)
    name: str = key("Its key in history, when two entries have one type.", "两项类型相同时，在历史记录中的键名。", "")
    config: dict[str, Any] = key("Its own parameters.", "指标自己的参数。", a_table())


@attrs.frozen(kw_only=True)
class Postprocess:
    """Conversion of the model's outputs to predictions: a name, or a table.

    从模型输出到预测结果：名称，或一个表。
    """

    type: str = key("Name of the postprocess.", "后处理名称。", shorthand=True)
    config: dict[str, Any] = key("Its own parameters.", "后处理自己的参数。", a_table())


@attrs.frozen(kw_only=True)
class Ddp:
    """Processes (ranks) of a run.

    一次运行的进程。
    """

    enabled: bool = key("false = one process.", "false 表示单进程。", default=True)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = key(
        "Of rank 0; the other ranks speak at ERROR.", "0 号进程的日志级别；其他进程只报错误。", "INFO"
    )
    nproc: int | Literal["auto"] = key(
        "Ranks on this machine; auto = one a visible GPU, or 1 on the CPU. Under torchrun the environment decides.",
        "本机进程数；auto = 每个可见 GPU 一个，CPU 上为 1。用 torchrun 启动时由环境决定。",
        "auto",
        limits=Range(1),
    )
    backend: Literal["auto", "gloo", "nccl"] = key(
        "auto = nccl on CUDA, gloo on the CPU.", "auto：CUDA 上用 nccl，CPU 上用 gloo。", "auto"
    )
    find_unused_parameters: bool = key(
        "Look for parameters that a step leaves without a gradient (slower).", "查找某一步没有梯度的参数（较慢）。", default=False
    )
    sync_batchnorm: bool = key("BatchNorm statistics over all ranks.", "BatchNorm 统计量跨所有进程同步。", default=False)
    virtual_shards: Literal[1, 2] = key(
        "2 = one rank and two give the same bits, without BatchNorm: one takes the parts of two in turn (slower).",
        "2 表示单进程与双进程结果逐位相同（无 BatchNorm）：单进程依次计算两份（较慢）。",
        1,
    )
    timeout: float = key(
        "Until a collective that hangs ends the run, or a loader worker that gives nothing.",
        "通信挂起（或数据加载进程无响应）多久后结束运行。",
        1800.0,
        limits=Range(0, above=True),
        unit="seconds",
    )


@attrs.frozen(kw_only=True)
class ModelConfig:
    """Parameters of the model; two keys belong to ddpkit itself.

    模型参数；其中两个键属于核心。
    """

    input_sizes: list[list[int]] = key(
        "Shapes [B, C, H, W] with which the model is tried before training.", "训练前用这些形状 [B, C, H, W] 试跑模型。", a_list()
    )
    dtypes: list[Literal["float32", "float64", "float16", "bfloat16", "uint8", "int64"]] = key(
        "Dtypes of these inputs, one each.", "这些输入的数据类型，逐一对应。", a_list()
    )
    params: dict[str, Any] = key(
        "The model's own, as in `n_channels`, `n_classes`.",
        "模型自己的参数，如 `n_channels`、`n_classes`。",
        a_table(),
        rest=True,
    )


@attrs.frozen(kw_only=True)
class Model:
    """Model and its initial weights.

    模型。
    """

    name: str = key("Name of the model, bare or `plugin/name`.", "模型名称，可写作 `插件/名称`。")
    continue_checkpoint: str = key(
        "Go on from this checkpoint with everything it holds.", "从该检查点恢复全部状态并继续训练。", ""
    )
    continue_ext_checkpoint: str = key("Deprecated: state is one checkpoint.", "已弃用：状态只有一个检查点。", "")
    pretrained: str = key(
        "File of weights to start a new run from: safetensors, or tensors alone as torch saves them. A head with another number"
        " of outputs begins anew, a first convolution of another number of channels is summed or repeated, what else does not fit"
        " is refused.",
        "新运行起始所用的权重文件：safetensors，或 torch 保存的纯张量文件。输出数不同的头重新初始化，通道数不同的首个卷积"
        "按通道求和或重复，其余不匹配则报错。",
        "",
    )
    freeze: list[str] = key("Patterns of parameter names that are not trained.", "不参与训练的参数名模式。", a_list())
    config: ModelConfig = key("The model's parameters.", "模型参数。", attrs.Factory(ModelConfig))


@attrs.frozen(kw_only=True)
class Criterion:
    """Term of the loss, which is a weighted sum. Terms are logged unweighted (as `dice_loss` if a metric is called `dice`).

    损失的一项；总损失为加权和，各项不加权单独记录（与同名指标并存时记为 `dice_loss`）。
    """

    type: str = key("Name of the criterion.", "损失函数名称。")
    name: str = key("Its key in history, when two entries have one type.", "两项类型相同时，在历史记录中的键名。", "")
    weight: float = key("Its weight in the sum.", "在总损失中的权重。", 1.0)
    config: dict[str, Any] = key("Its own parameters.", "损失函数自己的参数。", a_table())


@attrs.frozen(kw_only=True)
class Split:
    """Division of the samples into train, valid and test.

    如何把样本划分为训练、验证和测试。
    """

    type: str = key("Name of the split.", "划分方式名称。", "train_valid_test_split")
    params: dict[str, Any] = key("The split's own keys.", "该划分方式自己的键。", a_table(), rest=True)


@attrs.frozen(kw_only=True)
class Dataset:
    """Dataset and its splits.

    样本。
    """

    name: str = key("Name of the dataset.", "数据集名称。")
    root_dir: str = key("Folder of the data.", "数据根目录。", "")
    base_dir: str = key("Another name of `root_dir`.", "`root_dir` 的别名。", "")
    ref: str = key(
        "TOML or YAML file with defaults for this table, and maybe `classes`; beside the file that names it.",
        "为本表提供默认值（也可含 `classes`）的 TOML 或 YAML 文件；相对于引用它的文件。",
        "",
    )
    config: dict[str, Any] = key("The dataset's own parameters.", "数据集自己的参数。", a_table())
    split: Split = key("How it is divided.", "如何划分。", attrs.Factory(Split))


@attrs.frozen(kw_only=True)
class Dataloader:
    """Loading of samples. `shuffle`, `drop_last`, `sampler`: training only; evaluation reads every sample once, in order.

    读取样本；`shuffle`、`drop_last`、`sampler` 只作用于训练，评估按顺序且每个样本恰好一次。
    """

    num_workers: int = key(
        "Loader processes a rank; 0 = the rank loads.", "每个进程的加载子进程数；0 表示进程自己加载。", 0, limits=Range(0)
    )
    persistent_workers: bool = key("Keep the workers between epochs.", "各轮之间保留加载子进程。", default=True)
    shuffle: bool = key("A new order each epoch.", "每轮使用新的顺序。", default=True)
    pin_memory: bool = key(
        "Page-locked memory for faster copies; with CUDA only.", "使用锁页内存加快拷贝；仅 CUDA。", default=True
    )
    drop_last: bool = key(
        "false = the short last batch is dealt evenly and weighted by its samples.",
        "false 表示最后不足一批的样本均匀分配并按样本数加权。",
        default=False,
    )
    sampler: Literal["", "balanced"] = key(
        "balanced = every class as often; an epoch stays as long as it is.",
        "balanced 表示各类别出现次数相同；每轮长度不变。",
        "",
    )


@attrs.frozen(kw_only=True)
class Optimizer:
    """Optimizer and its parameters.

    优化器。
    """

    type: str = key("Name of the optimizer.", "优化器类型。")
    learning_rate: float | None = key(
        "The rate; left out = the optimizer's own.", "学习率；不写则用优化器自己的默认值。", None, limits=Range(0)
    )
    groups: list[dict[str, Any]] = key(
        'Rates and decay by parameter name: `{match = "backbone.*", learning_rate = 1e-5}`; the first match wins.',
        '按参数名设置：`{match = "backbone.*", learning_rate = 1e-5}`；先匹配者生效。',
        a_list(),
    )
    decay_norm_and_bias: bool = key(
        "false = no weight decay on norms and biases.", "false 表示归一化层与偏置不做权重衰减。", default=True
    )
    params: dict[str, Any] = key(
        "The optimizer's own keys, as in `weight_decay`, `betas`.",
        "优化器自己的键，如 `weight_decay`、`betas`。",
        a_table(),
        rest=True,
    )


@attrs.frozen(kw_only=True)
class LrScheduler:
    """Learning-rate schedule with optional warm-up.

    学习率如何变化。
    """

    type: str = key("Name of the schedule.", "调度器类型。")
    warmup: float = key("How long the rate rises to its own.", "学习率升至设定值的时长。", 0.0, limits=Range(0), unit="epochs")
    warmup_lr: float = key("The rate at which the warm-up begins.", "预热的起始学习率。", 0.0, limits=Range(0))
    update_policy: Literal["epoch", "step"] = key("What the schedule counts.", "按轮还是按步更新。", "epoch")
    params: dict[str, Any] = key(
        "The schedule's own keys, as in `min_lr`.", "调度器自己的键，如 `min_lr`。", a_table(), rest=True
    )


@attrs.frozen(kw_only=True)
class Scaler:
    """Number format of the computation.

    计算精度。
    """

    compute_type: Literal["float32", "bfloat16", "float16", "float64"] = key(
        "float64 = model and images in double precision, for proofs; the 16-bit ones are mixed precision.",
        "float64 表示模型与图像均用双精度，用于验证；16 位为混合精度。",
        "float32",
    )


@attrs.frozen(kw_only=True)
class EarlyStopping:
    """Conditions for stopping before the last epoch.

    何时提前停止。
    """

    patience: int = key("How long without an improvement.", "多久没有改善就停止。", limits=Range(1), unit="epochs")
    min_delta: float = key("What counts as an improvement is more than this.", "改善超过该值才算数。", 0.0, limits=Range(0))
    monitor: str = key(
        "`loss` or a metric of the validation split; empty = the loss, or the first metric if the model makes its losses itself.",
        "`loss` 或验证集上的某个指标；空为损失，模型自己计算损失时为第一个指标。",
        "",
    )


@attrs.frozen(kw_only=True)
class Train:
    """Settings of the training.

    训练。
    """

    batch_size: int = key(
        "Of one micro-step over all ranks; each takes an equal part.",
        "一次微步在所有进程上的样本总数；每个进程取相等的一份。",
        limits=Range(1),
        unit="samples",
    )
    epoch: int = key("Passes over the training split.", "训练轮数。", limits=Range(1), unit="epochs")
    save_period: float = key(
        "Resumable checkpoints that are kept: every that many epochs; below 1 that fraction of all epochs; 0 = at the end only.",
        "保留的可恢复检查点：每隔多少轮；小于 1 为总轮数的比例；0 表示仅在结束时。",
        0.0,
        unit="epochs",
    )
    save_recovery_period: float = key(
        "The rolling recovery point: every that many epochs; below 1 that fraction of all steps; 0 = at signals and the end.",
        "滚动的恢复点：每隔多少轮；小于 1 为总优化步数的比例；0 表示仅在收到信号和结束时。",
        0.0,
        unit="epochs",
    )
    save_recovery_seconds: float = key(
        "The same by the clock; 0 = off.", "同上，按时间；0 表示关闭。", 600.0, unit="seconds", limits=Range(0)
    )
    save_recovery_keep: int = key(
        "The newest recovery points that stay.", "保留最近的多少个恢复点。", 2, unit="checkpoints", limits=Range(2)
    )
    grad_accumulation_steps: int = key(
        "Micro-steps of an optimizer step; 0 and less mean 1.", "每个优化步的微步数；小于等于 0 视为 1。", 1
    )
    grad_clip_norm: float = key(
        "Largest norm of the whole gradient; 0 = off.", "整体梯度的最大范数；0 表示关闭。", 0.0, limits=Range(0)
    )
    ema_decay: float = key(
        "Moving average of the weights, also evaluated and saved (`ema/...`, `ema-best.safetensors`); smaller in the"
        " first steps; 0 = off.",
        "权重的滑动平均，与权重一同评估和保存（`ema/...`、`ema-best.safetensors`）；最初几步衰减较小；0 表示关闭。",
        0.0,
        limits=Range(0, 1),
    )
    channels_last: bool = key("Memory format of images and model.", "图像与模型使用 channels_last 内存格式。", default=False)
    compile: bool = key("Compile the model with torch.compile.", "用 torch.compile 编译模型。", default=False)
    deterministic: bool = key(
        "Only kernels that repeat to the bit (slower on CUDA; the CPU's do in any case).",
        "只使用可逐位复现的内核（CUDA 上较慢；CPU 上本就如此）。",
        default=False,
    )
    matmul_precision: Literal["highest", "high", "medium"] = key(
        "Torch's precision of float32 products.", "torch 的 float32 矩阵乘精度。", "highest"
    )
    on_nonfinite: Literal["stop", "skip"] = key(
        "stop = a loss that is not finite ends the run within 100 steps; skip = such a step is left out.",
        "stop：非有限的损失使运行在 100 步之内结束；skip：跳过这一步。",
        "stop",
    )
    optimizer: Optimizer = key("The optimizer.", "优化器。")
    lr_scheduler: LrScheduler | None = key("The schedule; left out = the rate stays.", "学习率调度器；不写则学习率不变。", None)
    scaler: Scaler = key("The number format.", "计算精度。", attrs.Factory(Scaler))
    early_stopping: EarlyStopping | None = key("Ending early; left out = never.", "提前停止；不写则从不。", None)


@attrs.frozen(kw_only=True)
class Valid:
    """Settings of the validation during training.

    训练中的验证。
    """

    batch_size: int | None = key(
        "Over all ranks; left out = that of `[test]`, else of `[train]`.",
        "所有进程上的总数；不写则用 `[test]` 的，再则用 `[train]` 的。",
        None,
        limits=Range(1),
        unit="samples",
    )
    every: int = key("How often.", "多久一次。", 1, limits=Range(1), unit="epochs")


@attrs.frozen(kw_only=True)
class Test:
    """Settings of the test of the best weights.

    用最佳权重测试。
    """

    batch_size: int | None = key(
        "Over all ranks; left out = that of `[train]`.",
        "所有进程上的总数；不写则用 `[train]` 的。",
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
        "Pictures too, in the input's size: with its mask over it, its boxes, its labels.",
        "同时保存与输入同尺寸的图像：叠加掩码、边界框或标签。",
        default=False,
    )
    threshold: float = key(
        "From which probability on: the second of two classes, a label, a box.",
        "概率阈值：两类中的第二类、某个标签、某个框。",
        0.5,
        limits=Range(0, 1),
    )
    top_k: int = key("The most probable classes that are listed.", "列出概率最高的多少个类别。", 1, limits=Range(1))
    mode: Literal["", "RGB", "L"] = key(
        "How images are read: in colour or grey; empty = as the dataset reads them, else by `model.config.n_channels`.",
        "读取图像的方式：彩色或灰度；空则与数据集相同，否则由 `model.config.n_channels` 决定。",
        "",
    )
    params: dict[str, Any] = key("The writer's own keys.", "写出器自己的键。", a_table(), rest=True)


@attrs.frozen(kw_only=True)
class Predict:
    """Prediction on new images (`mode` 4 or `--task predict`).

    对新图像预测（`mode` 4 或 `--task predict`）。
    """

    input: str = key("File, folder or glob.", "文件、文件夹或通配符。", "")
    batch_size: int | None = key(
        "Over all ranks; left out = that of `[test]`, else of `[train]`.",
        "所有进程上的总数；不写则用 `[test]` 的，再则用 `[train]` 的。",
        None,
        limits=Range(1),
        unit="samples",
    )
    config: PredictConfig = key("What it writes.", "输出内容。", attrs.Factory(PredictConfig))


@attrs.frozen(kw_only=True)
class Log:
    """Log file of rank 0, and messages on the terminal.

    0 号进程的日志文件与终端显示。
    """

    verbose: bool = key(
        "false = the terminal shows warnings and errors alone; the file has it all.",
        "false 表示终端只显示警告与错误；文件包含全部。",
        default=True,
    )
    debug: bool = key("DEBUG in place of `ddp.log_level`.", "用 DEBUG 代替 `ddp.log_level`。", default=False)
    log_file_format: str = key(
        "strftime of the file's name.",
        "日志文件名（strftime 格式）。",
        "%Y-%m-%d %H_%M_%S",
        limits=Pattern(r"[^/\\]+", "the name of a file"),
    )
    log_format: str = key(
        "Of a line, as Python's logging takes it.",
        "日志行格式。",
        "%(asctime)s %(levelname)s | %(name)s | %(message)s",
        limits=LogFormat(),
    )


@attrs.frozen(kw_only=True)
class Logger:
    """Entry of `private.loggers`: a name, or a table.

    `private.loggers` 的一项：名称，或一个表。
    """

    type: str = key("Name of the logger.", "记录器名称。", shorthand=True)
    config: dict[str, Any] = key("Its own parameters.", "记录器自己的参数。", a_table())


@attrs.frozen(kw_only=True)
class Private:
    """Records of a run, and its mode.

    记录方式与运行模式。
    """

    wandb: bool = key(
        "Send history to Weights & Biases: the logger `wandb`, project `task`. Without the package or the network, a warning.",
        "是否使用 wandb：即记录器 `wandb`，项目名为 `task`。缺少软件包或网络时只给出警告。",
        default=False,
    )
    mode: Literal[0, 1, 2, 3, 4, 5, 6, 7] = key(
        "Bit mask: 1 train, 2 test, 4 predict; 0 = train, then test the best weights.",
        "位掩码：1 训练，2 测试，4 预测；0 = 训练后用最佳权重测试。",
        0,
    )
    loggers: list[Logger] = key("Loggers beside the history files and the terminal.", "历史文件与终端之外的记录器。", a_list())
    log: Log = key("The log.", "日志。", attrs.Factory(Log))


@attrs.frozen(kw_only=True)
class Output:
    """Weights files that a run keeps.

    运行保存的权重。
    """

    save_best: bool = key("Keep `weights/best.safetensors`.", "保存最佳权重。", default=True)
    save_last: bool = key("Keep `weights/last.safetensors`.", "保存最后权重。", default=True)
    save_interval: int = key(
        "Keep the weights of every that many epochs; 0 = none.",
        "每隔多少轮保留一份权重；0 表示不保留。",
        0,
        limits=Range(0),
        unit="epochs",
    )
    monitor: str = key(
        "What best means: `loss` or a metric; empty = the loss, or the first metric if the model makes its losses itself.",
        "最佳的标准：`loss` 或某个指标；空为损失，模型自己计算损失时为第一个指标。",
        "",
    )


@attrs.frozen(kw_only=True)
class Plugins:
    """Policy for plugins. A plugin is named by its entry point, its namespace or its distribution.

    哪些插件可以参与。可用入口点名、命名空间或发行包名称来指代插件。
    """

    block: list[str] = key("Plugins that are not even imported.", "完全不导入的插件。", a_list())
    allow: list[str] = key("If given, all others but ddpkit's own are blocked.", "若给出，则屏蔽其他所有第三方插件。", a_list())
    enable: list[str] = key("Plugins whose run hooks are called.", "启用其运行钩子的插件。", a_list())
    prefer: dict[str, str] = key(
        "Name, or kind.name, to the namespace whose component a bare name means.", "同名组件优先使用哪个命名空间的。", a_table()
    )
    files: list[str] = key("Python files of your own parts, beside this file.", "自己的组件文件（相对于本文件）。", a_list())


@attrs.frozen(kw_only=True)
class Run:
    """Top level of the file.

    顶层的键。
    """

    extends: str = key("TOML file that this one is laid over; beside it.", "本文件所基于的 TOML 文件；相对于本文件。", "")
    output_dir: str = key("Root of all runs.", "输出目录。", "./runs")
    task: str = key(
        "Name of the experiment: a folder in `output_dir`.", "任务名称：`output_dir` 下的文件夹。", "default", limits=A_NAME
    )
    entity: str = key("W&B entity.", "W&B 实体名称。", "", limits=A_NAME)
    run_id: str = key("Name of the run's folder; empty = made when it begins.", "运行 ID；空则自动生成。", "", limits=A_NAME)
    device: str = key(
        "auto = CUDA if every rank has a GPU of its own, else the CPU.",
        "auto：每个进程都有 GPU 时用 CUDA，否则用 CPU。",
        "auto",
        limits=Device,
    )
    seed: int = key(
        "-1 = drawn when the run begins, and recorded.", "随机种子；-1 表示启动时随机生成并记录。", 0, limits=Range(-1)
    )
    classes: list[str] = key("Names of the classes.", "类别名称。", a_list())
    metrics: list[Metric] = key("What is measured beside the loss.", "评估指标。", a_list())
    postprocess: Postprocess | None = key("From outputs to predictions.", "后处理。", None)
    ddp: Ddp = key("The processes.", "进程。", attrs.Factory(Ddp))
    model: Model = key("The model.", "模型。")
    criterion: list[Criterion] = key(
        "The loss; none = the model makes its losses itself, as detectors do.",
        "损失函数；不写表示模型自己计算损失（如检测模型）。",
        a_list(),
    )
    transform: dict[str, Any] = key(
        "Name -> parameters, in the order of application.", "名称 -> 参数，按书写顺序应用。", a_table()
    )
    dataset: Dataset = key("The samples.", "数据集。")
    dataloader: Dataloader = key("Reading them.", "数据加载。", attrs.Factory(Dataloader))
    train: Train = key("Training.", "训练。")
    valid: Valid = key("Validation.", "验证。", attrs.Factory(Valid))
    test: Test = key("Test.", "测试。", attrs.Factory(Test))
    predict: Predict = key("Prediction.", "预测。", attrs.Factory(Predict))
    private: Private = key("Records and mode.", "记录与模式。", attrs.Factory(Private))
    output: Output = key("Weights that stay.", "权重输出。", attrs.Factory(Output))
    plugins: Plugins = key("Who may take part.", "插件策略。", attrs.Factory(Plugins))
