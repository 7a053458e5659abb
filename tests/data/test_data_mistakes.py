"""What goes wrong with data without being seen: each once did, in another kit, and would be caught here."""

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
"""Every transform of the format, and masks."""


@pytest.fixture
def toml(tmp_path, monkeypatch):
    """Sixteen images with masks, of two patients each four."""
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


def engine_of(toml, *sets):
    return builder.engine(loading.read(toml, loading.parse_overrides(sets)), manager.load().registry, World())


@pytest.mark.parametrize("part", ["valid", "test"])
def test_what_is_evaluated_is_never_augmented(toml, part):
    batches = getattr(engine_of(toml), part)
    train = engine_of(toml).train
    index = batches.sampler.indices[0]

    first, *others = [batches.samples[epoch, index] for epoch in range(5)]
    image, _ = batches.samples.dataset[index]
    middle = image.resize((16, 16), Image.Resampling.BILINEAR).crop((2, 2, 14, 14))

    assert all(torch.equal(image, first[0]) and torch.equal(mask, first[1]) for image, mask in others)
    assert np.array_equal(np.asarray(middle), first[0].permute(1, 2, 0))
    assert not all(torch.equal(train.samples[epoch, index][0], train.samples[0, index][0]) for epoch in range(5))


def test_evaluation_is_in_order_whatever_is_said_of_shuffling(toml):
    engine = engine_of(toml, "dataloader.shuffle=true")

    for batches in (engine.valid, engine.test):
        orders = [[index for share in batches.sampler.shares(epoch) for index in share.indices] for epoch in range(3)]
        assert orders == [list(batches.sampler.indices)] * 3


def test_a_mask_keeps_its_classes_through_every_transform(toml):
    samples = engine_of(toml).train.samples

    masks = [samples[epoch, index][1] for epoch in range(5) for index in range(16)]

    assert set(torch.stack(masks).unique().tolist()) == {0, 1}
    assert {mask.dtype for mask in masks} == {torch.int64}


def test_an_image_and_its_mask_are_turned_and_cut_as_one(toml):
    for file in (toml.parent / "data/masks").iterdir():
        mask = np.asarray(Image.open(file))
        Image.fromarray(np.stack([mask * 200] * 3, axis=-1)).save(toml.parent / "data/images" / file.name)
    turned = "transform={ HFLIP = [0.5], VFLIP = [0.5], CROP = [12, 12], PIL_TO_TENSOR = [], CONVERT_IMAGE_DTYPE = ['float32'] }"

    samples = engine_of(toml, turned).train.samples

    pairs = [samples[epoch, index] for epoch in range(5) for index in range(16)]
    assert all(torch.equal(image[0].long(), mask * 200) and mask.any() for image, mask in pairs)


def test_the_parts_share_no_sample_and_what_is_left_is_in_none(toml):
    engine = engine_of(toml, "dataset.split.test=0")

    train, valid = (set(batches.sampler.indices) for batches in (engine.train, engine.valid))
    assert (len(train), len(valid), engine.test) == (8, 4, None)
    assert not train & valid


@pytest.mark.parametrize(
    "split",
    [
        "{ train = 0.5, valid = 0.25, test = 0.25, group = '^images/(p[0-9]+)_' }",
        "{ type = 'kfold', n_splits = 4, fold = 3, group = '(p[0-9]+)_' }",
    ],
)
def test_a_patient_is_in_one_part(toml, split):
    engine = engine_of(toml, f"dataset.split={split}")

    files = engine.train.samples.dataset.groups["file"]
    parts = [batches for batches in (engine.train, engine.valid, engine.test) if batches]
    patients = [{files[index].split("_")[0] for index in batches.sampler.indices} for batches in parts]
    assert sum(map(len, patients)) == 8


def test_the_split_is_the_same_whoever_makes_it(toml):
    """Without a `random_state`, ranks once split each for itself."""
    first = engine_of(toml).train.sampler.indices
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002

    assert engine_of(toml).train.sampler.indices == first
    assert engine_of(toml, "seed=2").train.sampler.indices != first
    assert engine_of(toml, "seed=2", "dataset.split.random_state=1").train.sampler.indices == first


def test_the_record_of_a_split_can_be_given_to_the_next_run(toml):
    split = {"train": [5, 3, 9, 1], "valid": [0], "test": [15, 14]}
    files = engine_of(toml).train.samples.dataset.groups["file"]
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
        (["dataset.split.train=0.9"], "the fractions add up to 1.4"),
        (["dataset.split.type='kfolds'"], "did you mean 'kfold'?"),
        (["dataset.split={ type = 'kfold', n_splits = 17 }"], "n_splits is 2 to the 16 samples, fold 0 to n_splits - 1; got 17 and 0"),
        (["dataset.split={ type = 'kfold', group = 'patient' }"], "group is a column (file) or a pattern"),
        (["dataset.split={ type = 'predefined' }"], "leaves no sample to train with"),
        (["dataset.split={ type = 'predefined', file = 'x.json' }"], "data/x.json cannot be read: No such file"),
        (["dataset.split.stratify=true"], "stratify needs a dataset whose 'targets' are one class a sample"),
        (["dataset.split.random_state=-1"], "random_state is 0 or more, got -1"),
        (["dataset.config={ max_samples = 0 }"], "max_samples is at least 1, got 0"),
        (["dataset.config={ palette = [[0, 0]] }"], "dataset.config.palette"),
        (["dataset.ref='nowhere.yaml'"], "there is no file"),
        (["dataset={ name = 'CIFAR10' }"], "CIFAR10 needs dataset.root_dir"),
        (["dataset={ name = 'torchvision/SVNH', root_dir = '.' }"], "did you mean 'torchvision/SVHN'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_an_error_before_the_run(toml, capsys, sets, message):
    assert main(["run", str(toml), *(part for each in sets for part in ("--set", each))]) == 2

    stderr = capsys.readouterr().err
    assert message in stderr
    assert "Traceback" not in stderr


def test_a_run_goes_on_with_the_data_that_it_began_with(toml, capsys):
    options = ["--set", "run_id=a", "--set", "train.save_period=1"]
    assert main(["run", str(toml), *options]) == 0
    for folder in ("images", "masks"):
        (toml.parent / f"data/{folder}/p0_0.png").rename(toml.parent / f"data/{folder}/p9_0.png")
        (toml.parent / f"data/{folder}/p0_1.png").unlink()

    assert main(["run", str(toml), *options, "--set", "train.epoch=2", "--resume"]) == 2

    assert "dataset: has other samples than in the run that goes on: train " in capsys.readouterr().err
