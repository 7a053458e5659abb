"""Predict: what a run's model finds in new images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ddpkit.config.component_refs import class_names
from ddpkit.config.instantiate import Maker
from ddpkit.data.loader import guarded, make_loader, started
from ddpkit.inference import inputs
from ddpkit.inference.prediction_files import Predictions
from ddpkit.inference.predictor import Input, Predictor, Reader, batch_size
from ddpkit.runs import folder as run_folder
from ddpkit.runs.log import LOGGER
from ddpkit.tasks.plan import Job

if TYPE_CHECKING:
    from ddpkit.distributed.world import World


def predict(job: Job, world: "World", weights: Path) -> None:
    """Each rank takes its share of the inputs; rank 0 writes what all found. Every rank must call it.

    Raises ConfigError when there are no inputs, or the weights are not the model's.
    """
    config, limit = job.config, job.options.limit_batches
    files = inputs.find(config)[: None if limit is None else limit * batch_size(config.run)]
    folder = run_folder.path_of(config.run) / run_folder.PREDICTIONS
    predictions = Predictions(folder, files, inputs.names_of(files))
    predictor = Predictor.of(config, job.plugins.registry, world, weights)
    LOGGER.info("predict %s: %d inputs", weights, len(files))
    if world.is_main:
        predictions.begin()
        writer = Maker(config, job.plugins.registry).make_one("writer", folder=folder, classes=class_names(config.run))
    world.barrier()  # the folder is there
    fill_part(job, world, predictor, predictions)
    world.barrier()  # all parts are there
    if world.is_main:
        skipped = predictions.merge(world.size, writer)
        LOGGER.info("predict %d of %d inputs, in %s", len(files) - len(skipped), len(files), folder)


def fill_part(job: Job, world: "World", predictor: Predictor, predictions: Predictions) -> None:
    """What this rank finds."""
    draws = job.config.run.predict.config.save_images
    mine = range(world.rank, len(predictions.files), world.size)
    reading = guarded(lambda: f"one of {len(mine)} inputs")
    with predictions.part(world.rank) as part, reading:
        for numbers, batch in batches(job, predictor, predictions.files, mine):
            for number, each, outcome in zip(numbers, batch, predictor.outcomes(batch), strict=True):
                picture = each.picture if draws and isinstance(each, Input) else None
                part.add(number, outcome, picture)


def batches(
    job: Job, predictor: Predictor, files: Sequence[Path], mine: Sequence[int]
) -> Iterator[tuple[Sequence[int], list[Input | str]]]:
    """Numbers and inputs, as many at once as the model gets; read by loader workers, where the config has some."""
    plan = [list(mine[start : start + predictor.batch_size]) for start in range(0, len(mine), predictor.batch_size)]
    run = job.config.run
    loader = make_loader(Images(files, predictor.reader), plan, num_workers=run.dataloader.num_workers, timeout=run.ddp.timeout)
    return zip(plan, started(loader), strict=True)


@attrs.frozen
class Images:
    """The inputs by number."""

    files: Sequence[Path]
    reader: Reader

    def __getitem__(self, number: int) -> Input | str:
        return self.reader(self.files[number])
