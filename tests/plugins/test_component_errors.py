"""An error of a component names the component, its plugin and its file; an object of the wrong kind is refused."""

import re

import pytest
import torch
from PIL import Image
from torchvision.tv_tensors import Mask

from ddpkit import run
from ddpkit.cli.main import main
from ddpkit.config.image_transform import ImageTransform
from ddpkit.config.requirements import REQUIREMENTS, find_wrong_object
from ddpkit.data.sample_stages import check_pair
from ddpkit.testing import ddpkit
from tests.helpers.configs import BLOBS

PLUGIN = '''\
import random

import numpy as np
import torch
from acme.every import Dots
from torch import nn
from torch.utils.data import IterableDataset
from torchmetrics.aggregation import MeanMetric

from ddpkit import Component, hookimpl


def declare(*names, **fields):
    """Return a hook that yields components whose targets have their names."""
    return hookimpl(lambda: [Component(name, f"odd_parts:{name}", **fields) for name in names])


ddpkit_models = declare("nothing", "Flat")
ddpkit_criteria = declare("nothing", "failing_loss")
ddpkit_postprocesses = declare("nothing", "failing_postprocess")
ddpkit_metrics = declare("nothing", "FailingMetric", "Pair")
ddpkit_datasets = declare("nothing", "stream", "Broken", "Ragged", "Flaky")
ddpkit_splits = declare("nothing", "outside")
ddpkit_optimizers = declare("nothing", "Stuck")
ddpkit_lr_schedulers = declare("nothing", "Timed", "Needy")
ddpkit_loggers = declare("nothing", "Deaf", "deaf")
ddpkit_writers = declare("nothing", "Full")


@hookimpl
def ddpkit_transforms():
    yield Component("nothing", "odd_parts:nothing")
    yield Component("noise", "odd_parts:Noise")
    yield Component("image_noise", "odd_parts:Noise", image_only=True)
    yield Component("negative", "odd_parts:negative")
    yield Component("image_negative", "odd_parts:negative", image_only=True)
    yield Component("failing_transform", "odd_parts:failing_transform")
    yield Component("failing_batch", "odd_parts:failing_batch", batchable=True)
    yield Component("jitter", "odd_parts:jitter")
    yield Component("own_jitter", "odd_parts:own_jitter")


@hookimpl
def ddpkit_epoch_end(run, row):
    if run.config["task"] == "hooked":
        raise TypeError("boom")


def nothing():
    return None


def fail_after(n):
    """Return a function that raises an error when it is called more than `n` times."""
    left = [n]

    def count():
        left[0] -= 1
        if left[0] < 0:
            raise TypeError("boom")

    return count


class Flat(nn.Sequential):
    def __init__(self, n: int = 1000):
        super().__init__(nn.Flatten(), nn.Linear(64, 2))
        self.count = fail_after(n)

    def forward(self, images):
        self.count()
        return super().forward(images)


def failing_loss(n: int = 0):
    count, loss = fail_after(n), nn.CrossEntropyLoss()
    return lambda outputs, targets: count() or loss(outputs, targets)


def failing_postprocess(n: int = 0):
    count = fail_after(n)
    return lambda outputs: count() or outputs.softmax(dim=1)


class FailingMetric(MeanMetric):
    def __init__(self, n: int = 0):
        super().__init__()
        self.count = fail_after(n)

    def update(self, predictions, targets):
        self.count()
        super().update(targets.double())


class Pair(MeanMetric):
    def update(self, predictions, targets):
        super().update(targets.double())

    def compute(self):
        return super().compute(), 1


class Broken(Dots):
    def __getitem__(self, index):
        if index == 20:
            raise TypeError("boom")
        return super().__getitem__(index)


class Ragged(Dots):
    def collate(self, samples):
        if len(samples) > 8:
            raise TypeError("boom")
        return torch.stack([image for image, _ in samples]), torch.tensor([target for _, target in samples])


class Flaky(Dots):
    """Returns random samples of its own generator; the sample 0 is unreadable."""

    def __getitem__(self, index):
        image, target = super().__getitem__(index)
        if index < 2:
            raise OSError("no disk")
        return image + float(RNG.random()), target


def stream():
    class Stream(IterableDataset):
        def __iter__(self):
            yield from ()

        def __len__(self):
            return 3

    return Stream()


def outside(n_samples: int):
    return {"train": list(range(n_samples)), "valid": [n_samples]}


class Stuck(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, lr)

    def step(self, closure=None):
        raise TypeError("boom")


class Timed:
    """Has step(epoch), as timm's schedulers, but no state."""

    def __init__(self, optimizer):
        pass

    def step(self, epoch):
        pass


class Needy(Timed):
    def step(self, epoch, loss):
        pass

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Deaf:
    def close(self):
        pass


def deaf():
    return Deaf()


class Full:
    def write(self, name, prediction):
        raise TypeError("boom")

    def close(self):
        pass


class Noise:
    def __call__(self, image, mean=None):
        return image + torch.rand(())


def negative():
    return lambda image: 1 - image


def failing_transform(index: int = 20):
    def call(image, target):
        if abs(image.mean() - target - index / 100) < 1e-4:
            raise TypeError("boom")
        return image, target

    return call


def failing_batch():
    def call(images):
        raise TypeError("boom")

    return call


RNG = np.random.default_rng()


def own_jitter():
    return lambda image, target: (image * float(RNG.random()), target)


def jitter():
    return lambda image, target: (image * torch.rand(()) * random.random() * np.random.rand(), target)
'''
ODD = BLOBS.replace('"tinynet"', '"Flat"').replace('"blobs"\nconfig = { n = 40, n_test = 7 }', '"acme/dots"')


@pytest.fixture(scope="module")
def plugin_file(tmp_path_factory):
    """The file of the plugin; one for all tests, because a process imports a module once."""
    file = tmp_path_factory.mktemp("parts") / "odd_parts.py"
    file.write_text(PLUGIN)
    return file


@pytest.fixture
def odd(blobs, plugin_file):
    """A config that uses the plugin, in the current folder."""
    blobs.write_text(ODD + f'[plugins]\nfiles = ["{plugin_file}"]\n')
    return blobs


def command(*values):
    return ["run", "blobs.toml", *(part for value in values for part in ("--set", value))]


NOTHING = {
    "model": 'model.name="odd_parts/nothing"',
    "criterion": 'criterion=[{type="nothing"}]',
    "transform": "transform={nothing=[]}",
    "postprocess": 'postprocess="nothing"',
    "metric": 'metrics=["nothing"]',
    "dataset": 'dataset.name="nothing"',
    "split": 'dataset.split={type="nothing"}',
    "optimizer": 'train.optimizer={type="nothing"}',
    "lr_scheduler": 'train.lr_scheduler={type="nothing"}',
}


@pytest.mark.parametrize("kind", NOTHING)
def test_a_target_that_returns_nothing_is_refused(odd, plugin_file, capsys, kind):
    assert main(command(NOTHING[kind])) == 2

    names = r"'(odd_parts/)?nothing' \(odd_parts/nothing, " + re.escape(str(plugin_file))
    assert re.search(rf"--set 1: \S+: {kind} {names}\): its target returned None; it must return an? ", read_errors(capsys))
    assert not odd.with_name("runs").exists()


def read_errors(capsys):
    """Messages of a command; `one torchmetrics.Metric` is reduced to `a`, so that one pattern fits all kinds."""
    return capsys.readouterr().err.replace("must return one ", "must return a ")


WRONG = {
    'dataset.name="stream"': "type 'Stream'; it must return a map-style dataset with the methods __getitem__(index) and __len__()",
    'dataset.split={type="outside"}': "it must return a dict from 'train', 'valid', 'test' to lists of positions",
    'train.lr_scheduler={type="Timed"}': "it must return a torch.optim.lr_scheduler.LRScheduler, or an object with the methods",
    'train.lr_scheduler={type="Needy"}': "its method 'step' requires other arguments than one number; it must accept step(number)",
    'private.loggers=["Deaf"]': "its class lacks a method; it must be an object with the methods on_epoch_end(row)",
    "transform={negative=[]}": "its object accepts only the image; if it needs only the image, declare it with 'image_only=True'",
    "transform={noise=[]}": "it returned float32 [1, 8, 8] instead of image and target; if it needs only the image, declare",
    'metrics=["Pair"]': "compute() must return one number, or a mapping whose first value is one number; got tuple",
}


@pytest.mark.parametrize("value", WRONG)
def test_an_object_of_the_wrong_kind_is_refused(odd, plugin_file, capsys, value):
    assert main(command(value)) == 2

    message = capsys.readouterr().err
    assert WRONG[value] in message
    assert f"{plugin_file})" in message
    assert not odd.with_name("runs").exists()


def test_a_logger_that_a_function_returns_is_checked(odd, capsys):
    assert main(command('private.loggers=["deaf"]')) == 2

    assert "its target returned an object of type 'Deaf'; it must return an object with the methods" in capsys.readouterr().err


def test_every_kind_has_a_requirement_and_the_protocols_fit():
    class Writer:
        def write(self, name, prediction): ...

        def close(self): ...

    assert len(REQUIREMENTS) == 12
    assert find_wrong_object("writer", Writer(), {}) == ""
    assert "an object of type 'type'" in find_wrong_object("writer", Writer, {})
    assert find_wrong_object("dataset", [(0, 0)], {}) == ""
    assert find_wrong_object("split", {"train": torch.arange(3), "test": ()}, {"n_samples": 3}) == ""
    assert find_wrong_object("split", {"training": [0]}, {"n_samples": 3}) != ""
    assert find_wrong_object("split", {"train": [0.5]}, {"n_samples": 3}) != ""


BUGS = {
    'criterion=[{type="failing_loss"}]': "criterion 'failing_loss'",
    'criterion=[{type="failing_loss",config={n=4}}]': "criterion 'failing_loss'",
    'postprocess={type="failing_postprocess"}': "postprocess 'failing_postprocess'",
    'postprocess={type="failing_postprocess",config={n=3}}': "postprocess 'failing_postprocess'",
    'metrics=["FailingMetric"]': "metric 'FailingMetric'",
    'metrics=[{type="FailingMetric",name="odd",config={n=2}}]': "metric 'odd'",
    "model.config={n=6}": "model 'Flat'",
    'train.optimizer={type="Stuck"}': "optimizer 'Stuck'",
    "transform={failing_transform=[0]}": "transform 'failing_transform'",
    "transform={failing_batch=[]}": "transform 'failing_batch'",
    'task="hooked"': "run hook 'ddpkit_epoch_end'",
}


@pytest.mark.parametrize("value", BUGS)
def test_a_bug_in_a_component_names_it_above_its_traceback(odd, plugin_file, capsys, value):
    values = [value, "dataloader.shuffle=false", "dataset.split={train=0.5,valid=0.25,test=0.25}"]
    with pytest.raises(TypeError, match="boom") as caught:
        main(command(*values))

    line = rf"{re.escape(BUGS[value])} \(odd_parts\S*, {re.escape(str(plugin_file))}\) failed: TypeError: boom"
    assert re.search(f"^{line}$", capsys.readouterr().err, re.MULTILINE)
    assert not any("boom" in note for note in getattr(caught.value, "__notes__", ()))  # it is not printed twice


def test_a_script_gets_the_name_as_a_note(odd):
    with pytest.raises(TypeError) as caught:
        run(odd.name, {"postprocess": "failing_postprocess"})

    assert caught.value.__notes__[0].startswith("postprocess 'failing_postprocess' (odd_parts/failing_postprocess, ")


SAMPLES = {
    'dataset.name="Broken"': "train sample 20: dataset 'Broken' (odd_parts/Broken, {0}): TypeError: boom\nTraceback (most",
    'transform={failing_transform=[]}': "train sample 20: transform 'failing_transform' (odd_parts/failing_transform, {0}): TypeError: boom\nTraceback (most",
    'dataset.name="Ragged"': "cannot be collated with the other samples of its micro-batch (dataset 'Ragged' (odd_parts/Ragged, {0}): TypeError: boom); repair",
}  # fmt: skip


@pytest.mark.parametrize("n_workers", [0, 1])
@pytest.mark.parametrize("value", SAMPLES)
def test_an_error_of_a_sample_names_its_component(odd, plugin_file, capsys, value, n_workers):
    values = [value, "dataset.split={train=1.0}", f"dataloader.num_workers={n_workers}", "metrics=[]"]
    assert main(command(*values, "train.batch_size=10")) == 1

    assert SAMPLES[value].format(plugin_file) in capsys.readouterr().err


@pytest.mark.slow
def test_a_transform_and_a_writer_are_named_in_prediction(odd, plugin_file, capsys):
    assert main(command("run_id=a", "metrics=[]")) == 0
    Image.new("L", (8, 8)).save("image.png")
    predict = ["predict", "runs/blobs/a", "image.png", "--set", "predict.config.mode='L'", "--set"]
    transforms = "transform={PIL_TO_TENSOR=[],CONVERT_IMAGE_DTYPE=['float32'],NAME=[]}"

    assert main([*predict, transforms.replace("NAME", "noise")]) == 4
    assert f"image.png cannot be used: transform 'noise' (odd_parts/noise, {plugin_file}): " in capsys.readouterr().err

    with pytest.raises(TypeError, match="boom"):
        main([*predict, transforms.replace("NAME", "image_noise"), "--set", "predict.config.output_format='Full'"])
    assert f"\nwriter 'Full' (odd_parts/Full, {plugin_file}) failed: TypeError: boom\n" in capsys.readouterr().err


@pytest.mark.slow
def test_two_ranks_name_the_component_in_their_report(odd, plugin_file):
    outcome = ddpkit(*command('metrics=[{type="FailingMetric",config={n=2}}]'), "--nproc", "2", cwd=odd.parent)

    assert outcome.exit_code == 1
    line = (
        rf"rank [01]: metric 'FailingMetric' \(odd_parts/FailingMetric, {re.escape(str(plugin_file))}\) failed: TypeError: boom"
    )
    assert re.search(rf"^{line}\nTraceback \(most recent", outcome.stderr, re.MULTILINE)


# --- image-only transforms and unseeded randomness -----------------------------------------------------------------------


def test_an_image_only_transform_keeps_the_target(odd):
    result = run(odd.name, {"run_id": "a", "transform": {"image_noise": [], "image_negative": []}})

    assert result.history[-1]["epoch"] == 2


def test_an_image_only_transform_must_keep_the_size_of_a_mask():
    crop = ImageTransform(lambda image: image[..., 1:])
    image = torch.zeros(1, 4, 6)

    assert crop(image, 3)[1] == 3
    assert [part.shape[-1] for part in ImageTransform(torch.clone)(image, Mask(torch.zeros(4, 6)))] == [6, 6]
    assert crop(image, {"side": 1, "points": torch.zeros(3, 2)})[1]["side"] == 1
    for target in (Mask(torch.zeros(4, 6)), {"boxes": torch.zeros(1, 4)}, {"mask": Mask(torch.zeros(4, 6)), "side": 1}):
        with pytest.raises(ValueError, match=r"from \(4, 6\) to \(4, 5\), but keeps its mask or boxes; remove 'image_only=True'"):
            crop(image, target)


def test_two_channels_are_not_image_and_target():
    assert check_pair([1, 2]) == (1, 2)
    with pytest.raises(ValueError, match=r"returned float32 \[2, 4, 4\] instead of image and target"):
        check_pair(torch.zeros(2, 4, 4))


WARNING = (
    "gives different results for one sample and one seed, so this run cannot be repeated or resumed exactly; draw its random"
)


def test_a_transform_with_its_own_generator_is_named(odd, plugin_file, capsys):
    result = run(odd.name, {"run_id": "a", "transform": {"jitter": [], "own_jitter": [], "image_noise": []}})

    message = f"transform 'own_jitter' (odd_parts/own_jitter, {plugin_file}) {WARNING}"
    assert capsys.readouterr().err.count(message) == 1
    assert next((result.folder / "logs").iterdir()).read_text().count(message) == 1


def test_a_dataset_with_its_own_generator_is_named(odd, capsys):
    values = ['dataset.name="Flaky"', 'dataset.on_error="skip"', "dataset.max_skipped=0.5", "dataloader.shuffle=false"]
    assert main([*command(*values), "--dry-run"]) == 0

    assert "dataset 'Flaky' (odd_parts/Flaky, " in (message := capsys.readouterr().err)
    assert WARNING in message


def test_seeded_randomness_is_not_reported(odd, capsys):
    assert main([*command("transform={jitter=[],image_noise=[]}"), "--dry-run"]) == 0

    assert "gives different results" not in capsys.readouterr().err
