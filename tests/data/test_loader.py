"""An epoch can be resumed at any position, unreadable samples are named, and workers end with their rank."""

import gc
import multiprocessing
import os
import signal
import time

import attrs
import pytest
import torch
from torchvision.tv_tensors import BoundingBoxes

from ddpkit.data.loader import SeededDataset, SplitLoader
from ddpkit.data.nested import iterate_tensors
from ddpkit.data.sampler import BatchSampler, Sampler
from ddpkit.data.workers import guard_workers, init_worker, make_loader, name_dead_worker
from ddpkit.errors import SampleError


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_init_worker_works_with_every_start_method(method):
    worker = multiprocessing.get_context(method).Process(target=init_worker, args=(0,))
    worker.start()
    worker.join(30)

    assert worker.exitcode == 0


class FaultyDataset:
    """Ten images; reading number `at` calls `act`."""

    def __init__(self, at=-1, act=None, n=10):
        self.at, self.act, self.n = at, act, n
        self.targets = [0, 1] * (n // 2)

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        image = torch.full((1, 2, 2), float(index)) + torch.rand(1, 2, 2)
        return (self.act(image) if index == self.at else image), index % 2


def refuse(_):
    raise OSError("image file is truncated")


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def dawdle(_):
    time.sleep(4)


def make_split_loader(dataset, num_workers=0, *, persistent=False, timeout=60):
    sampler = Sampler(indices=range(10), batch_size=2, shards=[0], n_shards=1, seed=1, shards_in_turn=True)
    samples = dataset if isinstance(dataset, SeededDataset) else SeededDataset(dataset, [], 5)
    batch_sampler = BatchSampler(sampler)
    loader = make_loader(samples, batch_sampler, num_workers=num_workers, persistent=persistent, pin=False, timeout=timeout)
    return SplitLoader(samples, batch_sampler, loader, [], torch.device("cpu"))


def read(made, epoch=0, start=0):
    with made.guard_workers():
        return [images for images, _, _ in made.epoch(epoch, start)]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("act", "message"),
    [
        (refuse, "train sample 5: OSError: image file is truncated; repair the sample or remove it from the data"),
        (
            lambda image: image[:, 1:],
            "train sample 5 cannot be in one micro-batch with sample 4: image and target are float32 [1, 1, 2] and int",
        ),
    ],
)
def test_an_unreadable_sample_is_named(num_workers, act, message):
    with pytest.raises(SampleError) as caught:
        read(make_split_loader(FaultyDataset(5, act), num_workers))

    assert message in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_read_error_names_the_sample_file():
    dataset = FaultyDataset(5, refuse)
    dataset.samples = [(f"cats/{number}.png", 0) for number in range(10)]

    with pytest.raises(SampleError, match=r"train sample 5 \(cats/5\.png\): OSError"):
        read(make_split_loader(dataset))

    dataset.samples[5] = ("cats/5\n.png", 0)
    with pytest.raises(SampleError, match=r"train sample 5 \(cats/5\\n\.png\): OSError"):
        read(make_split_loader(dataset))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dead_worker_names_its_possible_samples():
    with pytest.raises(
        SampleError, match=r"a loader worker died while it read some of the train samples (\d, )*5, .*num_workers = 0'"
    ):
        read(make_split_loader(FaultyDataset(5, die), 2))
    gc.collect()  # closes the socket of the dead worker here, not during another test


def test_a_worker_that_dies_while_it_sends_is_named():
    def send():
        yield 1
        raise ConnectionResetError("reset by peer")

    with (
        pytest.raises(SampleError, match="a loader worker died while it read some samples"),
        guard_workers(lambda: "some samples"),
    ):
        assert list(name_dead_worker(send())) == []


def test_a_hanging_worker_times_out():
    with pytest.raises(
        SampleError,
        match=r"no loader worker returned a micro-batch within 'ddp.timeout' while .* read some of the train samples (\d, )*5,",
    ):
        read(make_split_loader(FaultyDataset(5, dawdle), 1, timeout=1))


def test_guard_workers_passes_other_errors_through():
    with pytest.raises(RuntimeError, match="of the model"), make_split_loader(FaultyDataset()).guard_workers():
        raise RuntimeError("of the model")


def test_a_sample_does_not_depend_on_its_batch_position():
    samples = SeededDataset(FaultyDataset(), [], 5)

    alone, second = samples.__getitems__([(0, 3)])[0][0], samples.__getitems__([(0, 1), (0, 3)])[0][1]

    assert torch.equal(alone, second)


@pytest.mark.parametrize(("num_workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_an_epoch_resumes_at_any_micro_batch_without_rereading(num_workers, persistent):
    whole = read(make_split_loader(FaultyDataset()), 3)
    made = make_split_loader(FaultyDataset(0, refuse), num_workers, persistent=persistent)

    for start in (1, 3, 5, 2):
        rest = read(made, 3, start)
        assert len(rest) == 5 - start
        assert all(torch.equal(*pair) for pair in zip(rest, whole[start:], strict=True))


class RaggedDataset(FaultyDataset):
    """Images of several sizes with boxes, and a custom `collate`."""

    def __getitem__(self, index):
        return torch.full((1, 2, 2 + index % 3), float(index)), {
            "boxes": BoundingBoxes(torch.ones(index, 4), format="XYXY", canvas_size=(2, 2))
        }

    def collate(self, samples):
        images, targets = zip(*samples, strict=True)
        return list(images), list(targets)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_custom_collate_keeps_lists_and_per_image_transforms(num_workers):
    made = make_split_loader(RaggedDataset(), num_workers)
    made.batch_transforms = [lambda image: image + image.shape[-1]]

    read = list(made.epoch(0))

    assert [[image.shape[-1] for image in images] for images, _, _ in read][:2] == [[2, 3], [4, 2]]
    assert [[image.flatten()[0].item() for image in images] for images, _, _ in read][:2] == [[2, 4], [6, 5]]
    assert [[len(target["boxes"]) for target in targets] for _, targets, _ in read][:2] == [[0, 1], [2, 3]]
    images, targets = made.sample(2)
    assert ([image.shape[-1] for image in images], len(targets)) == ([2, 3], 2)


def test_tensors_in_lists_and_mappings_move_to_the_device():
    made = attrs.evolve(make_split_loader(RaggedDataset()), device=torch.device("meta"))

    images, targets = made.sample(2)

    assert {each.device.type for each in iterate_tensors((images, targets))} == {"meta"}
    assert len([*iterate_tensors((images, targets))]) == 4


def test_mappings_of_targets_are_collated_entry_by_entry():
    samples = [(torch.zeros(1, 2, 2), {"label": label, "points": torch.full((3, 2), float(label))}) for label in (0, 1)]
    images, targets = SeededDataset(FaultyDataset(), [], 5).collate(samples)

    assert images.shape == (2, 1, 2, 2)
    assert torch.equal(targets["label"], torch.tensor([0, 1]))
    assert targets["points"].shape == (2, 3, 2)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            {"boxes": torch.zeros(1, 4)},
            "its target is a dict with 'boxes'; a dataset with such targets must have a method 'collate",
        ),
        (
            {"at": torch.zeros(1, 2)},
            r"differ: {at: float32 \[2, 2\]} and {at: float32 \[1, 2\]}; a dataset with such targets must",
        ),
        ({"at": torch.zeros(2, 2), "label": 1}, r"differ: {at: float32 \[2, 2\]} and {at: float32 \[2, 2\], label: int}"),
        (3, r"differ: {at: float32 \[2, 2\]} and int"),
    ],
)
def test_targets_that_cannot_be_collated_are_refused(target, message):
    samples = [(torch.zeros(1, 2, 2), each) for each in ({"at": torch.zeros(2, 2)}, target)]

    with pytest.raises(ValueError, match=message):
        SeededDataset(FaultyDataset(), [], 5).collate(samples)
