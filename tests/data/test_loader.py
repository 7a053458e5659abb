"""What is read is the same from any position; what cannot be read names its sample; workers end with their rank."""

import gc
import multiprocessing
import os
import signal
import time

import attrs
import pytest
import torch
from torchvision.tv_tensors import BoundingBoxes

from ddpkit.data.loader import Batches, KeyedDataset, end_with_rank, make_loader
from ddpkit.data.nested import tensors_in
from ddpkit.data.sampler import Sampler
from ddpkit.errors import SampleError


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_worker_lives_while_its_rank_does_however_it_was_started(method):
    worker = multiprocessing.get_context(method).Process(target=end_with_rank, args=(0,))
    worker.start()
    worker.join(30)

    assert worker.exitcode == 0


class Shaky:
    """Ten images; the one with the number `at` does what it is told."""

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


def batches(dataset, num_workers=0, *, persistent=False, timeout=60):
    samples, plan = KeyedDataset(dataset, [], 5), []
    sampler = Sampler(indices=range(len(dataset)), batch_size=2, shards=[0], n_shards=1, seed=1, keep_company=True)
    loader = make_loader(samples, plan, num_workers=num_workers, persistent=persistent, pin=False, timeout=timeout)
    return Batches(samples, sampler, plan, loader, [], torch.device("cpu"))


def read(made, epoch=0, start=0):
    with made.guarded():
        return [images for images, _, _ in made.epoch(epoch, start)]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("act", "message"),
    [
        (refuse, "train sample 5: OSError: image file is truncated; mend it or take it out of the data"),
        (
            lambda image: image[:, 1:],
            "train sample 5 does not fit into one micro-batch with sample 4: float32 [1, 1, 2] with int, not float32 [1, 2, 2] with int",
        ),
    ],
)
def test_what_cannot_be_read_names_its_sample(num_workers, act, message):
    with pytest.raises(SampleError) as caught:
        read(batches(Shaky(5, act), num_workers))

    assert message in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_the_file_is_named_where_the_dataset_tells():
    dataset = Shaky(5, refuse)
    dataset.samples = [(f"cats/{number}.png", 0) for number in range(10)]

    with pytest.raises(SampleError, match=r"train sample 5 \(cats/5\.png\): OSError"):
        read(batches(dataset))

    dataset.samples[5] = ("cats/5\n.png", 0)
    with pytest.raises(SampleError, match=r"train sample 5 \('cats/5\\n\.png'\): OSError"):
        read(batches(dataset))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_that_dies_names_what_it_may_have_read():
    with pytest.raises(
        SampleError, match=r"a loader worker died while it read train samples out of (\d, )*5, .*num_workers = 0'"
    ):
        read(batches(Shaky(5, die), 2))
    gc.collect()  # the socket on which torch heard the worker: here, and not in the middle of another test


def test_a_worker_that_gives_nothing_ends_the_run_in_time():
    with pytest.raises(
        SampleError,
        match=r"no loader worker gave a micro-batch within 'ddp.timeout' while they read train samples out of (\d, )*5,",
    ):
        read(batches(Shaky(5, dawdle), 1, timeout=1))


def test_another_error_stays_what_it_is():
    with pytest.raises(RuntimeError, match="of the model"), batches(Shaky()).guarded():
        raise RuntimeError("of the model")


def test_what_a_sample_looks_like_does_not_depend_on_its_place():
    samples = KeyedDataset(Shaky(), [], 5)

    alone, second = samples.__getitems__([(0, 3)])[0][0], samples.__getitems__([(0, 1), (0, 3)])[0][1]

    assert torch.equal(alone, second)


@pytest.mark.parametrize(("num_workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_an_epoch_goes_on_from_any_micro_batch_without_reading_those_before(num_workers, persistent):
    whole = read(batches(Shaky()), 3)
    made = batches(Shaky(0, refuse), num_workers, persistent=persistent)

    for start in (1, 3, 5, 2):
        rest = read(made, 3, start)
        assert len(rest) == 5 - start
        assert all(torch.equal(*pair) for pair in zip(rest, whole[start:], strict=True))


class Ragged(Shaky):
    """Images of several sizes with boxes, and a `collate` of its own."""

    def __getitem__(self, index):
        return torch.full((1, 2, 2 + index % 3), float(index)), {
            "boxes": BoundingBoxes(torch.ones(index, 4), format="XYXY", canvas_size=(2, 2))
        }

    def collate(self, samples):
        images, targets = zip(*samples, strict=True)
        return list(images), list(targets)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_dataset_of_boxes_makes_its_own_micro_batches_whose_images_are_transformed_one_by_one(num_workers):
    made = batches(Ragged(), num_workers)
    made.batch_transforms = [lambda image: image + image.shape[-1]]

    read = list(made.epoch(0))

    assert [[image.shape[-1] for image in images] for images, _, _ in read][:2] == [[2, 3], [4, 2]]
    assert [[image.flatten()[0].item() for image in images] for images, _, _ in read][:2] == [[2, 4], [6, 5]]
    assert [[len(target["boxes"]) for target in targets] for _, targets, _ in read][:2] == [[0, 1], [2, 3]]
    images, targets = made.sample(2)
    assert ([image.shape[-1] for image in images], len(targets)) == ([2, 3], 2)


def test_what_is_in_lists_and_mappings_is_moved_to_the_device():
    made = attrs.evolve(batches(Ragged()), device=torch.device("meta"))

    images, targets = made.sample(2)

    assert {each.device.type for each in tensors_in((images, targets))} == {"meta"}
    assert len([*tensors_in((images, targets))]) == 4
