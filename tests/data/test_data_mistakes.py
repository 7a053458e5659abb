"""Mistakes with data that stay unnoticed during training; each was once made in another kit."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.distributed.world import World
from ddpkit.plugins import manager
from ddpkit.training import builder

TOML = """\
output_dir = "runs"
device = "cpu"
seed = 1
ddp = { nproc = 1 }
model = { name = "unet", config = { n_channels = 3, n_classes = 2, depth = 1, width = 1 } }
criterion = [{ type = "cross_entropy" }]
dataset = { name = "mask_folder", root_dir = "data", split = { train = 0.5, valid = 0.25, test = 0.25 } }
train = { batch_size = 4, epoch = 1, optimizer = { type = "sgd", learning_rate = 0.1 } }
[dataloader]
num_workers = 0
[transform]
RESIZE = [16, 16]
CROP = [12, 12]
CENTER_CROP = [12, 12]
HFLIP = [0.5]
VFLIP = [0.5]
ROTATION = [30]
INVERT = [0.5]
COLOR_JITTER = [0.4, 0.4, 0.4, 0.1]
GAUSSIAN_BLUR = [3]
AUG_MIX = [3]
PIL_TO_TENSOR = []
CONVERT_IMAGE_DTYPE = ["float32"]
NORMALIZE = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]
"""
"""A config with masks and every transform."""


@pytest.fixture
def toml(tmp_path, monkeypatch):
    """Sixteen images with masks, two for each of eight patients."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number in range(16):
        name, mask = f"p{number // 2}_{number}.png", generator.integers(0, 2, (20, 20), dtype=np.uint8)
        Image.fromarray(generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(tmp_path / "data/images" / name)
        Image.fromarray(mask).save(tmp_path / "data/masks" / name)
    (tmp_path / "run.toml").write_text(TOML)
    return tmp_path / "run.toml"


def build_trainer(toml, *sets):
    return builder.build_trainer(loading.read(toml, loading.parse_overrides(sets)), manager.load().registry, World())


@pytest.mark.parametrize("split", ["valid", "test"])
def test_evaluation_samples_are_never_augmented(toml, split):
    loaders = build_trainer(toml).split_loaders
    batches, train = loaders[split], loaders["train"]
    index = batches.sampler.indices[0]

    first, *others = [batches.samples[epoch, index] for epoch in range(5)]
    image, _ = batches.samples.dataset[index]
    middle = image.resize((16, 16), Image.Resampling.BILINEAR).crop((2, 2, 14, 14))

    assert all(torch.equal(image, first[0]) and torch.equal(mask, first[1]) for image, mask in others)
    assert np.array_equal(np.asarray(middle), first[0].permute(1, 2, 0))
    assert not all(torch.equal(train.samples[epoch, index][0], train.samples[0, index][0]) for epoch in range(5))


def test_evaluation_ignores_the_shuffle_option(toml):
    trainer = build_trainer(toml, "dataloader.shuffle=true")

    for batches in (trainer.evaluator.valid, trainer.evaluator.test):
        orders = [[index for shard in batches.sampler.epoch_shards(epoch) for index in shard.indices] for epoch in range(3)]
        assert orders == [list(batches.sampler.indices)] * 3


def test_a_mask_keeps_its_classes_through_every_transform(toml):
    samples = build_trainer(toml).loader.samples

    masks = [samples[epoch, index][1] for epoch in range(5) for index in range(16)]

    assert set(torch.stack(masks).unique().tolist()) == {0, 1}
    assert {mask.dtype for mask in masks} == {torch.int64}


def test_an_image_and_its_mask_are_transformed_together(toml):
    for file in (toml.parent / "data/masks").iterdir():
        mask = np.asarray(Image.open(file))
        Image.fromarray(np.stack([mask * 200] * 3, axis=-1)).save(toml.parent / "data/images" / file.name)
    turned = "transform={ HFLIP = [0.5], VFLIP = [0.5], CROP = [12, 12], PIL_TO_TENSOR = [], CONVERT_IMAGE_DTYPE = ['float32'] }"

    samples = build_trainer(toml, turned).loader.samples

    pairs = [samples[epoch, index] for epoch in range(5) for index in range(16)]
    assert all(torch.equal(image[0].long(), mask * 200) and mask.any() for image, mask in pairs)


def test_splits_are_disjoint_and_leave_unassigned_samples_out(toml):
    trainer = build_trainer(toml, "dataset.split.test=0")

    train, valid = (set(batches.sampler.indices) for batches in (trainer.loader, trainer.evaluator.valid))
    assert (len(train), len(valid), trainer.evaluator.test) == (8, 4, None)
    assert not train & valid


@pytest.mark.parametrize(
    "split",
    [
        "{ train = 0.5, valid = 0.25, test = 0.25, group = '^images/(p[0-9]+)_' }",
        "{ type = 'kfold', n_splits = 4, fold = 3, group = '(p[0-9]+)_' }",
    ],
)
def test_a_group_is_in_only_one_split(toml, split):
    trainer = build_trainer(toml, f"dataset.split={split}")

    files = trainer.loader.samples.dataset.groups["file"]
    parts = [batches for batches in (trainer.loader, trainer.evaluator.valid, trainer.evaluator.test) if batches]
    patients = [{files[index].split("_")[0] for index in batches.sampler.indices} for batches in parts]
    assert sum(map(len, patients)) == 8


def test_the_split_depends_only_on_its_seed(toml):
    """Without a `random_state` each rank must still draw the same split."""
    first = build_trainer(toml).loader.sampler.indices
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002

    assert build_trainer(toml).loader.sampler.indices == first
    assert build_trainer(toml, "seed=2").loader.sampler.indices != first
    assert build_trainer(toml, "seed=2", "dataset.split.random_state=1").loader.sampler.indices == first


def test_a_recorded_split_can_be_reused_by_the_next_run(toml):
    split = {"train": [5, 3, 9, 1], "valid": [0], "test": [15, 14]}
    files = build_trainer(toml).loader.samples.dataset.groups["file"]
    names = {part: [files[index] for index in indices] for part, indices in split.items()}
    options = ["--set", "dataset.split={ type = 'predefined', file = 'split.json' }"]

    for run_id, given in [("a", split), ("b", names)]:
        (toml.parent / "data/split.json").write_text(json.dumps(given))
        assert main(["run", str(toml), *options, "--set", f"run_id={run_id}"]) == 0
        assert json.loads((toml.parent / f"runs/default/{run_id}/split.json").read_text()) == names


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["transform.ZOOM=[2]"], "no transform is called 'ZOOM'"),
        (["transform.NORMALIZE=[true]"], "transform.NORMALIZE[0]: expected an array"),
        (["dataset.name='MedicalDataSet'"], "did you mean 'MedicalDataset'?"),
        (["dataset.split.train=0.9"], "the sum of the fractions must be at most 1; got 1.4"),
        (["dataset.split.type='kfolds'"], "did you mean 'kfold'?"),
        (["dataset.split={ type = 'kfold', n_splits = 17 }"], "n_splits must be between 2 and the number of samples (16), and fold between 0 and n_splits - 1; got 17 and 0"),
        (["dataset.split={ type = 'kfold', group = 'patient' }"], "group must be a column (file) or a pattern"),
        (["dataset.split={ type = 'predefined' }"], "leaves no samples for training"),
        (["dataset.split={ type = 'predefined', file = 'x.json' }"], "data/x.json cannot be read: No such file"),
        (["dataset.split.stratify=true"], "stratify requires a dataset whose 'targets' have one class per sample"),
        (["dataset.split.random_state=-1"], "random_state must be at least 0; got -1"),
        (["dataset.config={ max_samples = 0 }"], "max_samples must be at least 1; got 0"),
        (["dataset.config={ palette = [[0, 0]] }"], "dataset.config.palette"),
        (["dataset.ref='nowhere.yaml'"], "was not found"),
        (["dataset={ name = 'CIFAR10' }"], "dataset.root_dir is missing; set it to the folder for the files of CIFAR10"),
        (["dataset={ name = 'torchvision/SVNH', root_dir = '.' }"], "did you mean 'torchvision/SVHN'?"),
    ],
)  # fmt: skip
def test_invalid_data_options_are_rejected_before_the_run(toml, capsys, sets, message):
    assert main(["run", str(toml), *(part for each in sets for part in ("--set", each))]) == 2

    stderr = capsys.readouterr().err
    assert message in stderr
    assert "Traceback" not in stderr


def test_resume_rejects_renamed_and_missing_samples(toml, capsys):
    options = ["--set", "run_id=a", "--set", "train.save_period=1"]
    assert main(["run", str(toml), *options]) == 0
    for folder in ("images", "masks"):
        (toml.parent / f"data/{folder}/p0_0.png").rename(toml.parent / f"data/{folder}/p9_0.png")
        (toml.parent / f"data/{folder}/p0_1.png").unlink()

    assert main(["run", str(toml), *options, "--set", "train.epoch=2", "--resume"]) == 2

    err = capsys.readouterr().err
    assert "dataset: the samples differ from those of the resumed run: 2 samples are missing, such as 'images/p0_" in err
    assert "; 1 sample is new, such as 'images/p9_0.png' (" in err
