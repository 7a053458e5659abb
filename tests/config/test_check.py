"""A mistake is reported at its line, with a suggestion, before any process starts or file is written."""

import json
import subprocess
import sys

import pytest

from ddpkit.cli.main import main
from tests.helpers.configs import BLOBS

MISTAKES = {
    "unknown key": ('task = "blobs"', 'tsak = "blobs"', "2:1: tsak: unknown key, did you mean 'task'?"),
    "unknown key in a table": ("batch_size = 8", "batch_sise = 8", "26:1: train.batch_sise: unknown key, did you mean 'batch_size'?"),
    "missing key": ("batch_size = 8\n", "", "25:2: train.batch_size: is missing"),
    "wrong type": ("epoch = 2", 'epoch = "2"', "27:9: train.epoch: expected an integer, got '2'"),
    "out of range": ("epoch = 2", "epoch = 0", "27:9: train.epoch: must be at least 1; got 0"),
    "unknown model": ('name = "tinynet"', 'name = "tinnet"', "12:8: model.name: no model is called 'tinnet', did you mean 'tinynet'?"),
    "unknown metric": ('["accuracy"]', '["acuracy"]', "4:12: metrics[0].type: no metric is called 'acuracy', did you mean 'accuracy'?"),
    "unknown transform": (
        "[train]", "[transform]\nROTATE = [3]\n[train]",
        "26:1: transform.ROTATE: no transform is called 'ROTATE', did you mean 'ROTATION'?",
    ),
    "unknown parameter": ("n_test = 7", "n_tset = 7", "19:20: dataset.config.n_tset: dataset 'blobs' has no such key, did you mean 'n_test'?"),
    "wrong parameter type": ("n_test = 7", "n_test = 7.5", "19:29: dataset.config.n_test: expected an integer, got 7.5"),
    "unknown parameter of a torch class": ("momentum", "momentun", "28:50: train.optimizer.momentun: optimizer 'sgd' has no such key, did you mean 'momentum'?"),
    "torch's name of the learning rate": ("learning_rate = 0.1", "lr = 0.1", "28:29: train.optimizer.lr: optimizer 'sgd' has no such key, did you mean 'learning_rate'?"),
    "shuffle with a balanced sampler": ("[train]", '[dataloader]\nsampler = "balanced"\nshuffle = false\n[train]', "26:11: dataloader.sampler: 'balanced' draws samples in random order; remove 'shuffle = false'"),
    "no cuda": ('device = "cpu"', 'device = "cuda:99"', "3:10: device: 'cuda:99' requires 100 GPUs"),
    "a criterion named as a metric": ('type = "cross_entropy"', 'type = "cross_entropy"\nname = "accuracy"', "15:8: criterion[0].type: the history already has a column 'accuracy'; set another 'name' for this entry"),
    "images that are not tensors": ('"blobs"\nconfig = { n = 40, n_test = 7 }', '"MNIST"\nconfig = { max_samples = 20 }', "1:1: transform: dataset 'MNIST' returns PIL images, not tensors; add 'TO_TENSOR = []' (convert a PIL image to a float32 tensor"),
    "images of several sizes": ("n = 40", "n = 40, ragged = true", "1:1: transform: images differ in size; add 'RESIZE"),
    "another number of channels": ('"tinynet"', '"resnet18"', "11:2: model.config.n_channels: the images do not have the number of channels that the model expects"),
    "another number of pixels": ('"tinynet"', '"tinynet"\nconfig = { n_pixels = 65 }', "13:10: model.config: the images do not have the size that the model expects"),
    "a metric of several numbers": ('["accuracy"]', '["acme/counts"]', "4:11: metrics: a metric does not return one number (metric 'counts' (acme/counts, acme-parts 1.2.0, "),
    "a parameter out of range": ('["accuracy"]', '[{ type = "top_k_accuracy", config = { k = 0 } }]', "4:48: metrics[0].config: metric 'top_k_accuracy' does not accept these parameters: k must be between 1 and the number of classes, 2; got 0"),
    "options that exclude each other": ('type = "sgd"', 'type = "sgd", fused = true, foreach = true', "28:13: train.optimizer: optimizer 'sgd' does not accept these parameters: `fused` and `foreach` cannot be `True` together."),
    "a warm-up of half an epoch with update_policy epoch": ("epoch = 2", "epoch = 2\nlr_scheduler = { type = 'cosine', warmup = 0.5, warmup_lr = 1e-4 }", "28:44: train.lr_scheduler.warmup: must be a whole number of epochs; got 0.5; for a fraction, set update_policy = 'step'"),
    "a first epoch with learning rate 0": ("epoch = 2", "epoch = 2\nlr_scheduler = { type = 'cosine', warmup = 1 }", "28:1: train.lr_scheduler.warmup_lr: the learning rate of the first epoch would be 0; set a larger value, or set update_policy = 'step'"),
    "an unknown compute_type": ("[train]", "[train.scaler]\ncompute_type = 'float8'\n[train]", "26:16: train.scaler.compute_type: 'float8' is not allowed"),
    "an invalid log format": ("[train]", "[private.log]\nlog_format = 'hello'\n[train]", "26:14: private.log.log_format: must be a %-style format string of Python's logging module"),
    "a folder that cannot be created": ('output_dir = "runs"', 'output_dir = "/proc/x"', "1:14: output_dir: cannot create /proc/x/blobs/"),
    "a name with a path": ('task = "blobs"', 'task = ".."', "2:8: task: must be a name of letters, digits, '.', '_' and '-', but not '.' or '..'; got '..'"),
    "more labels than outputs": ('"tinynet"', '"tinynet"\nconfig = { n_classes = 1 }', "13:24: model.config.n_classes: criterion 'cross_entropy' requires one output per class, but 'classes' has 2 names; set n_classes = 2"),
    "no training samples": ("train = 0.8", "train = 0.0", "21:10: dataset.split: leaves no samples for training"),
    "rejected by the component": ("momentum = 0.9", "momentum = -0.9", "28:13: train.optimizer: optimizer 'sgd' does not accept these parameters: Invalid momentum value: -0.9"),
    "fractions with a sum above one": ("train = 0.8", "train = 0.9", "23:9: dataset.split.valid: the sum of the fractions must be at most 1; got 1.1"),
    "a fraction above one": ("train = 0.8", "train = 1.5", "22:9: dataset.split.train: must be between 0 and 1; got 1.5"),
    "two classes with the same name": ('["left", "right"]', '["left", "left"]', "6:11: classes: class names must be unique; repeated: 'left'"),
    "two folders": ('name = "blobs"', 'name = "blobs"\nroot_dir = "a"\nbase_dir = "b"', "20:12: dataset.base_dir: differs from 'root_dir'; set only one of them"),
    "weights and a checkpoint": ('"tinynet"', '"tinynet"\npretrained = "a"\ncontinue_checkpoint = "b"', "13:14: model.pretrained: cannot be used with 'model.continue_checkpoint', which resumes a run; set only one of them"),
    "a metric without a postprocess": ('postprocess = "classification"', "", "4:1: metrics: metric 'accuracy' requires predictions; set 'postprocess', which computes them from the model's outputs"),
    "a monitor that is not a metric": ("[train]", "[output]\nmonitor = 'acuracy'\n[train]", "26:11: output.monitor: no loss or metric is called 'acuracy', did you mean 'accuracy'?"),
    "an arch that differs from the model": ('"tinynet"', '"tinynet"\nconfig = { arch = "unet" }', "13:19: model.config.arch: must be 'tinynet', the name of the model; correct or remove this key"),
    "a shape that the model rejects": ('"tinynet"', '"tinynet"\nconfig = { input_sizes = [[1, 1, 8, 8], [1, 3, 8, 8]] }', "13:41: model.config.input_sizes[1]: the model does not accept images of this shape"),
    "more dtypes than inputs": ('"tinynet"', '"tinynet"\nconfig = { input_sizes = [[1, 1, 8, 8]], dtypes = ["float32", "uint8"] }', "13:51: model.config.dtypes: must have one dtype per entry of 'input_sizes' (1); got 2"),
    "one GPU for two ranks": ('device = "cpu"', 'device = "cuda:0"', "3:10: device: 'cuda:0' is a single GPU, but there are 2 ranks; write 'cuda'"),
}  # fmt: skip


def read_errors(capsys):
    """Messages of a command, without the lines that say what it is doing."""
    lines = capsys.readouterr().err.splitlines(keepends=True)
    return "".join(line for line in lines if not line.endswith(" ...\n"))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_at_its_line(blobs, capsys, mistake):
    right, wrong, message = MISTAKES[mistake]
    assert right in BLOBS
    blobs.write_text(BLOBS.replace(right, wrong))

    exit_code = main(["run", blobs.name, *(["--set", "ddp.nproc=2"] if mistake == "one GPU for two ranks" else [])])

    stderr = read_errors(capsys)
    assert exit_code == 2
    assert f"blobs.toml:{message}" in stderr
    assert "Traceback" not in stderr
    assert not (blobs.parent / "runs").exists()


def test_all_mistakes_are_reported_in_line_order(blobs, capsys):
    text = BLOBS.replace('"tinynet"', '"x"').replace('"accuracy"', '"y"').replace("n_test", "z").replace("momentum", "w")
    blobs.write_text(text)

    assert main(["run", blobs.name]) == 2

    lines = read_errors(capsys).splitlines()
    assert [line.split(":")[1] for line in lines] == ["4", "12", "19", "28"]


MANY_MISTAKES = """\
tsak = "blobs"
device = "gpu"
metrics = ["acuracy"]
postprocess = "classification"
[modle]
nmae = "tinnet"
[criterion]
type = "cross_entropy"
wieght = "x"
[dataset]
name = "blobs"
confg = { n_tset = "x" }
[dataset.splt]
train = 0.9
valid = 0.9
[dataloader]
samplr = "balancd"
[trian]
epoch = "x"
[trian.optimzer]
type = "sgd"
momentun = "x"
[trian.lr_scheduler]
type = "cosine"
warmup = 0.5
min_rl = 0.1
[fancy]
depth = 1
"""


def test_keys_of_a_misspelt_table_are_not_missing(blobs, capsys):
    blobs.write_text(blobs.read_text().replace("[train]", "[trian]") + "[train.early_stopping]\npatience = 2\n")

    assert main(["check", blobs.name]) == 2

    assert read_errors(capsys).partition(": ")[2] == "trian: unknown key, did you mean 'train'?\n"


def test_a_folder_in_place_of_its_config_is_named(blobs, capsys):
    blobs.with_suffix("").mkdir()

    assert main(["check", "blobs"]) == 2

    assert capsys.readouterr().err == "blobs: cannot be read: Is a directory; did you mean 'blobs.toml'?\n"


def test_mistakes_in_misspelt_tables_are_found_too(blobs, capsys):
    blobs.write_text(MANY_MISTAKES)

    assert main(["check", blobs.name]) == 2

    found = [line.partition(", choose")[0].split(": ", 1) for line in read_errors(capsys).splitlines()]
    assert [(int(where.split(":")[1]), message) for where, message in found] == [
        (1, "tsak: unknown key, did you mean 'task'?"),
        (2, "device: must be auto, cpu, cuda or cuda:N; got 'gpu'"),
        (3, "metrics[0].type: no metric is called 'acuracy', did you mean 'accuracy'?"),
        (5, "modle: unknown key, did you mean 'model'?"),
        (6, "modle.nmae: unknown key, did you mean 'name'?"),
        (6, "modle.nmae: no model is called 'tinnet', did you mean 'tinynet'?"),
        (7, "criterion: must be an array of tables; write [[criterion]]"),
        (9, "criterion.wieght: unknown key, did you mean 'weight'?"),
        (9, "criterion.wieght: expected a number, got 'x'"),
        (12, "dataset.confg: unknown key, did you mean 'config'?"),
        (12, "dataset.confg.n_tset: dataset 'blobs' has no such key, did you mean 'n_test'?"),
        (12, "dataset.confg.n_tset: expected an integer, got 'x'"),
        (13, "dataset.splt: unknown key, did you mean 'split'?"),
        (15, "dataset.splt.valid: the sum of the fractions must be at most 1; got 1.8"),
        (17, "dataloader.samplr: unknown key, did you mean 'sampler'?"),
        (17, "dataloader.samplr: 'balancd' is not allowed, did you mean 'balanced'?"),
        (18, "trian: unknown key, did you mean 'train'?"),
        (18, "trian.batch_size: is missing"),
        (19, "trian.epoch: expected an integer, got 'x'"),
        (20, "trian.optimzer: unknown key, did you mean 'optimizer'?"),
        (22, "trian.optimzer.momentun: optimizer 'sgd' has no such key, did you mean 'momentum'?"),
        (22, "trian.optimzer.momentun: expected a number, got 'x'"),
        (23, "trian.lr_scheduler.warmup_lr: the learning rate of the first epoch would be 0; set a larger value, or set update_policy = 'step'"),
        (25, "trian.lr_scheduler.warmup: must be a whole number of epochs; got 0.5; for a fraction, set update_policy = 'step'"),
        (26, "trian.lr_scheduler.min_rl: lr_scheduler 'cosine' has no such key, did you mean 'min_lr'?"),
        (27, "fancy: unknown key"),
    ]  # fmt: skip


KEEP_PIL = """\
from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_transforms():
    yield Component("KEEP", "keep_pil:Keep")


class Keep:
    def __call__(self, image, target):
        return image, target
"""


def test_pil_images_are_reported_only_if_all_components_declare_them(blobs, capsys):
    text = BLOBS.replace('"blobs"\nconfig = { n = 40, n_test = 7 }', '"MNIST"')
    blobs.write_text(f"{text}[plugins]\nfiles = ['keep_pil.py']\n[transform]\nRESIZE = [8]\n")
    blobs.with_name("keep_pil.py").write_text(KEEP_PIL)

    def is_reported(*options):
        main(["check", blobs.name, *options])
        return "transform: dataset 'MNIST' returns PIL images" in read_errors(capsys)

    assert is_reported()
    assert is_reported("--set", "transform.RESIZE=['x']")
    assert is_reported("--set", "transform={}")
    assert not is_reported("--set", "transform.TO_TENSOR=[]")
    assert not is_reported("--set", "transform={PIL_TO_TENSOR=[], HFLIP=[]}")
    assert not is_reported("--set", "transform={KEEP=[], HFLIP=[]}")
    assert not is_reported("--set", "dataset.name='blobs'")


def test_integer_images_are_rejected(blobs, capsys):
    digits = BLOBS.replace('"blobs"\nconfig = { n = 40, n_test = 7 }', '"MNIST"\nconfig = { max_samples = 20 }')
    blobs.write_text(digits.replace('"tinynet"', '"resnet18"\nconfig = { n_channels = 1 }') + "[transform]\nPIL_TO_TENSOR = []\n")

    assert main(["run", blobs.name]) == 2
    assert "transform: images are integers; add 'CONVERT_IMAGE_DTYPE = [\"float32\"]' to [transform]" in read_errors(capsys)


def test_unusable_data_is_a_config_mistake(blobs, capsys):
    digits = BLOBS.replace('"blobs"\nconfig = { n = 40, n_test = 7 }', '"MNIST"\nconfig = { max_samples = 20 }')
    transforms = "[transform]\nPIL_TO_TENSOR = []\nCONVERT_IMAGE_DTYPE = []\nNORMALIZE = [[0.1, 0.2, 0.3], [1, 1, 1]]\n"
    blobs.write_text(digits + transforms)

    assert main(["run", blobs.name]) == 2

    message = (
        "blobs.toml:32:13: transform.NORMALIZE: the first sample cannot be used: transform 'NORMALIZE': NORMALIZE has 3 means, but "
        "the images have 1 channels; set one mean and std per channel\n"
    )
    assert read_errors(capsys) == message


def test_a_batch_size_not_divisible_by_the_ranks_is_rejected(blobs, capsys):
    assert main(["run", blobs.name, "--nproc", "3"]) == 2

    assert read_errors(capsys) == (
        "blobs.toml:26:14: train.batch_size: 8 samples cannot be divided equally among 3 ranks; use 6 or 9, or --nproc 1 or 2\n"
    )
    assert not (blobs.parent / "runs").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("train.epoch=two", "--set 1: train.epoch: expected an integer, got 'two'"),
        ("train.epohc=2", "--set 1: train.epohc: unknown key, did you mean 'epoch'?"),
        ("model.name=unte", "--set 1: model.name: no model is called 'unte', "),
        ("#x=3", "--set 1: '#x' is not a valid key; write it like train.epoch"),
        (f"seed={'1' * 5000}", "--set 1: invalid value: "),
        ("extends=x.toml", "--set 1: extends: can be set only in a file; pass a file with this key to the command"),
        ("train.epoch", "--set 1: expected KEY=VALUE, for example train.epoch=3, got 'train.epoch'"),
        ("task.name=1", "--set 1: task.name: 'task' is not a table"),
        ("model.pretrained=x", "--set 1: model.pretrained: file x was not found"),
        (
            "private={wandb=true, loggers=['wandb']}",
            "--set 1: private.wandb: adds the logger 'wandb', which 'private.loggers' already contains; set only one of them",
        ),
        ("valid.every=0", "--set 1: valid.every: must be at least 1; got 0"),
        ("model.freeze=['nothing.*']", "--set 1: model.freeze[0].match: no parameter matches 'nothing.*'; choose from: 1.*, 4.*"),
        ("model.freeze=['*']", "--set 1: model.freeze: leaves no parameter to train"),
        ("model.freeze=[{match='1.*', untl=2}]", "--set 1: model.freeze[0].untl: unknown key, did you mean 'until'?"),
        ("model.freeze=['1.*', {until=2}]", "--set 1: model.freeze[1].match: is missing"),
        ("model.freeze=[{match='1.*', until=0}]", "--set 1: model.freeze[0].until: must be at least 1; got 0"),
        (
            "train.optimizer.groups=[{match='5.*'}]",
            "--set 1: train.optimizer.groups[0].match: no trained parameter outside the groups before matches",
        ),
        (
            "train.optimizer.groups=[{lr=1.0}]",
            "--set 1: train.optimizer.groups[0]: 'match' is missing; set it to a pattern of parameter names",
        ),
        (
            "train.optimizer.groups=[{match='1.*', momentun=1.0}]",
            "--set 1: train.optimizer.groups[0].momentun: optimizer 'sgd' has no such key, did you mean 'momentum'?",
        ),
        (
            "train.optimizer.groups=[{match='1.*', weight_decay='x'}]",
            "--set 1: train.optimizer.groups[0].weight_decay: expected a number, got 'x'",
        ),
        ("train.optimizer=[]", "--set 1: train.optimizer: must not be empty; add a table [[train.optimizer]] with 'name' and"),
        (
            "train.optimizer={type='sgd', match='1.*'}",
            "--set 1: train.optimizer.match: is allowed only for one of several optimizers; write [[train.optimizer]] in place of",
        ),
        ("train.optimizer=3", "--set 1: train.optimizer: expected a string or a table or an array of tables, got 3"),
        ("train.optimizer=[{type='sgd'}]", "--set 1: train.optimizer[0].name: is missing"),
        ("train.optimizer=[{type='sgd', name='a/b'}]", "--set 1: train.optimizer[0].name: must be a name of letters, digits,"),
        (
            "train.optimizer=[{type='sgd', name='a', match='1.*'}, {type='adm', name='b'}]",
            "--set 1: train.optimizer[1].type: no optimizer is called 'adm', did you mean 'adam'?",
        ),
        (
            "train.optimizer=[{type='sgd', name='a', match='1.*'}, {type='adam', name='b', momentum=1.0}]",
            "--set 1: train.optimizer[1].momentum: optimizer 'adam' has no such key, ",
        ),
        (
            "train.optimizer=[{type='sgd', name='a', match='1.*'}, {type='sgd', name='b', groups=[{match='4.*', betas=[1]}]}]",
            "--set 1: train.optimizer[1].groups[0].betas: optimizer 'sgd' has no such key, ",
        ),
        (
            "train.optimizer=[{type='sgd', name='a', match='1.*'}, {type='adam', name='a'}]",
            "--set 1: train.optimizer[1].name: another optimizer has the name 'a'; set another name",
        ),
        (
            "train.optimizer=[{type='sgd', name='a'}, {type='adam', name='b'}]",
            "--set 1: train.optimizer[0]: only the last optimizer may omit 'match'; set it to a pattern of parameter names",
        ),
        (
            "train.optimizer=[{type='sgd', name='a', match=['1.*', '5.*']}, {type='adam', name='b'}]",
            "--set 1: train.optimizer[0].match: no trained parameter outside the optimizers before matches '5.*'; did you mean",
        ),
        (
            "train.optimizer=[{type='sgd', name='a', match='1.*'}]",
            "--set 1: train.optimizer: no optimizer matches 4.weight, 4.bias; extend a 'match', or remove that of the last",
        ),
        (
            "train.optimizer=[{type='sgd', name='a', match='*'}, {type='adam', name='b'}]",
            "--set 1: train.optimizer[1]: the optimizers before it match all trained parameters; remove this optimizer",
        ),
        (
            "train.optimizer=[{type='sgd', name='a', lr_scheduler='cosin'}]",
            "--set 1: train.optimizer[0].lr_scheduler.type: no lr_scheduler is called 'cosin', did you mean 'cosine'?",
        ),
        (
            "train.optimizer=[{type='sgd', name='a', lr_scheduler={type='cosine', warmup=1}}]",
            "--set 1: train.optimizer[0].lr_scheduler.warmup_lr: the learning rate of the first epoch would be 0;",
        ),
        (
            "train.optimizer=[{type='sgd', name='a', lr_scheduler={type='plateau', update_policy='step'}}]",
            "--set 1: train.optimizer[0].lr_scheduler.update_policy: a scheduler that uses",
        ),
        (
            "train.early_stopping={patience=1, monitor='acc'}",
            "--set 1: train.early_stopping.monitor: no loss or metric is called 'acc', ",
        ),
        (
            "train.lr_scheduler={type='plateau', update_policy='step'}",
            "--set 1: train.lr_scheduler.update_policy: a scheduler that uses",
        ),
        (
            "dataset.split.fold=3",
            "--set 1: dataset.split.fold: split 'train_valid_test_split' has no such key, choose from: group, random_state, shuffle,",
        ),
        ("private.mode=8", "--set 1: private.mode: 8 is not allowed: 0 or 1 or 2 "),
        ("private.mode=2", "blobs.toml:2:8: task: no finished run found in "),
        (
            "predict.config.output_format=jsn",
            "--set 1: predict.config.output_format: no writer is called 'jsn', did you mean 'json'?",
        ),
        (
            "predict.config.treshold=0.1",
            "--set 1: predict.config.treshold: writer 'json' has no such key, did you mean 'threshold'?",
        ),
        ("criterion.0.weight=2", "--set 1: criterion.0.weight: 'criterion' is a list; set the complete list: criterion=[...]"),
    ],
)
def test_a_mistake_in_an_option_names_the_option(blobs, capsys, option, message):
    assert main(["run", blobs.name, "--set", option]) == 2

    assert read_errors(capsys).startswith(message)


def test_a_schedule_that_no_optimizer_uses_gives_a_warning(blobs, capsys):
    optimizer = "[{name='a', type='sgd', lr_scheduler={type='cosine', warmup=5, warmup_lr=0.1}}]"
    options = [f"train.optimizer={optimizer}", "train.lr_scheduler=linear"]

    assert main(["check", blobs.name, *(part for option in options for part in ("--set", option))]) == 0
    shown = capsys.readouterr()
    assert "train.lr_scheduler: is not used, because each optimizer has an 'lr_scheduler' of its own" in shown.out + shown.err
    assert "train.optimizer[0].lr_scheduler.warmup: the warm-up (5 epochs) is longer than the training" in shown.out + shown.err


@pytest.mark.parametrize("option", ["private.wandb=false", "private.loggers=[]", "train.save_period=0", "model.pretrained="])
def test_empty_and_disabled_options_are_accepted(blobs, option):
    assert main(["run", blobs.name, "--limit-batches", "1", "--dry-run", "--set", option]) == 0


def test_an_existing_run_id_is_rejected(blobs, capsys):
    (blobs.parent / "runs/blobs/first").mkdir(parents=True)

    assert main(["run", blobs.name, "--set", "run_id=first"]) == 2

    assert "--set 1: run_id:" in (message := read_errors(capsys))
    assert "already contains a run" in message


def test_batchnorm_on_a_single_value_is_found_before_training(blobs, capsys):
    text = BLOBS.replace("tinynet", "normnet").replace("train = 0.8", "train = 0.825").replace("valid = 0.2", "valid = 0.175")
    blobs.write_text(text)

    assert main(["run", blobs.name]) == 2

    assert "set 'dataloader.drop_last = true'" in read_errors(capsys)
    assert not (blobs.parent / "runs").exists()


@pytest.mark.parametrize(
    "command",
    [
        "list-plugins",
        "check blobs.toml",
        "explain blobs.toml",
        "schema",
        "run blobs.toml --set x=1",
        "check blobs.toml --json --set x=1",
    ],
)
def test_config_commands_do_not_import_torch(blobs, command):
    code = (
        f"import sys, ddpkit.cli.main; ddpkit.cli.main.main({command.split()!r});"
        "print({'torch', 'torchvision', 'torchmetrics', 'numpy', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=blobs.parent)

    assert done.stdout.splitlines()[-1] == "set()"


def test_help_imports_few_modules(acme):
    code = "import sys, ddpkit.cli.main\ntry: ddpkit.cli.main.main(['--help'])\nexcept SystemExit: print(len(sys.modules), 'rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    n_modules, has_rich = done.stdout.split()[-2:]

    assert int(n_modules) < 250
    assert has_rich == "False"


# --- the command -------------------------------------------------------------------------------------------------------


TEN = """\
tsak = "blobs"
device = "gpu"
metrics = ["acuracy"]
postprocess = "classification"
classes = "left"

[model]
name = "tinynet"
config = { hidden = "16" }

[[criterion]]
typ = "cross_entropy"

[transform]
ROTATE = [3]

[dataset]
name = "blobs"
config = { n_tset = 7 }

[dataset.split]
train = 0.8
valid = 0.3

[train]
batch_size = 9
epoch = 2
optimizer = { type = "sgd", momentum = "much" }
lr_scheduler = { type = "cosine", warmup = 0.5, warmup_lr = 0.1 }
"""


def test_mistakes_of_many_kinds_are_reported_in_line_order(blobs, capsys):
    blobs.write_text(TEN)

    assert main(["run", blobs.name, "--set", "ddp.nproc=2"]) == 2

    lines = read_errors(capsys).splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        "blobs.toml:1:1:", "blobs.toml:2:10:", "blobs.toml:3:12:", "blobs.toml:5:11:", "blobs.toml:9:21:", "blobs.toml:12:1:",
        "blobs.toml:15:1:", "blobs.toml:19:12:", "blobs.toml:23:9:", "blobs.toml:26:14:", "blobs.toml:28:40:", "blobs.toml:29:44:",
    ]  # fmt: skip
    assert not (blobs.parent / "runs").exists()


def test_check_does_not_depend_on_this_machine(blobs, capsys):
    options = ["--set", "device=cuda:99", "--set", "ddp.nproc=1", "--set", "dataset.root_dir=/nowhere", "--set", "run_id=x"]

    assert main(["check", blobs.name, *options]) == 0
    assert capsys.readouterr().out == "blobs.toml: no mistake found; the data was not read, see --data\n"


def test_check_prints_warnings_and_unchecked_parameters(blobs, capsys):
    options = ["--set", "model.config.n_classes=3", "--set", "train.optimizer.eps=1"]
    blobs.write_text(BLOBS.replace('"sgd"', '"adam"').replace("momentum = 0.9", "betas = [0.9, 0.99]"))

    assert main(["check", blobs.name, *options]) == 0

    warning, unchecked, last = capsys.readouterr().out.splitlines()
    assert warning.startswith(
        "warning: blobs.toml:6:1: classes: the number of class names is 2, but the model has 3 outputs; outputs without "
    )
    assert unchecked.startswith("note: train.optimizer.type: the parameters of 'adam' are not fully checked: ")
    assert last == "blobs.toml: no mistake found in the parts that were checked; the data was not read, see --data"


def test_check_deep_imports_what_source_cannot_show(blobs, capsys):
    blobs.write_text(BLOBS.replace('"sgd"', '"adam"').replace("momentum = 0.9", 'betas = ["a", "b"]'))

    assert main(["check", blobs.name]) == 0
    assert main(["check", blobs.name, "--deep"]) == 2

    assert "blobs.toml:28:60: train.optimizer.betas[0]: expected a number, got 'a'" in read_errors(capsys)
    assert main(["run", blobs.name]) == 2


def test_check_prints_json(blobs, capsys):
    assert main(["check", blobs.name, "--json", "--set", "train.epoch=x"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["where"], problem["key"], problem["line"]) == ("--set 1", "train.epoch", None)

    blobs.write_text(BLOBS.replace("epoch = 2", "epoch = 0"))
    assert main(["check", blobs.name, "--json"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == ("blobs.toml", 27, 9)

    assert main(["check", "nowhere.toml", "--json"]) == 2
    assert "cannot be read" in json.loads(capsys.readouterr().out)["problems"][0]["message"]


def test_a_terminal_gets_the_line_with_a_caret(blobs, capsys, monkeypatch):
    blobs.write_text(BLOBS.replace("epoch = 2", "epohc = 2"))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)

    assert main(["check", blobs.name]) == 2

    assert read_errors(capsys) == (
        "blobs.toml:27:1: train.epohc: unknown key, did you mean 'epoch'?\n   27 | epohc = 2\n      | ^\n"
    )
