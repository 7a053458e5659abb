"""Predict task: inference of a run's model on new images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ddpkit.config.classes import class_names
from ddpkit.config.instantiate import ComponentFactory
from ddpkit.data.workers import guard_workers, make_loader, start_loader
from ddpkit.inference import inputs
from ddpkit.inference.prediction_files import AGAIN, PredictionWriter
from ddpkit.inference.predictor import Input, Predictor, Reader, predict_batch_size
from ddpkit.runs import folder as run_folder
from ddpkit.runs.files import os_errors_as
from ddpkit.runs.log import LOGGER
from ddpkit.runs.screen.console import show_progress
from ddpkit.tasks.plan import RunPlan

if TYPE_CHECKING:
    from ddpkit.distributed.world import World


def predict(plan: RunPlan, world: "World", weights: Path) -> None:
    """Predict all inputs: each rank predicts its share, and rank 0 writes the results of all ranks. Every rank must call it.

    Raise ConfigError if there are no inputs, or if the weights do not fit the model.
    """
    config, limit = plan.config, plan.options.limit_batches
    files = inputs.find_inputs(config)[: None if limit is None else limit * predict_batch_size(config.run)]
    folder = run_folder.run_path(config.run) / run_folder.PREDICTIONS
    predictions = PredictionWriter(folder, files, inputs.output_names(files))
    predictor = Predictor.of(config, plan.plugins.registry, world, weights)
    LOGGER.info("predict %s: %d inputs", weights, len(files))
    if world.is_main:
        predictions.begin()
        with os_errors_as(folder, AGAIN):
            factory = ComponentFactory(config, plan.plugins.registry)
            writer = factory.create_only("writer", folder=folder, classes=class_names(config.run))
    world.barrier()  # rank 0 has created the folder
    predict_shard(plan, world, predictor, predictions)
    world.barrier()  # the files of all ranks are complete
    if world.is_main:
        skipped = predictions.merge(world.size, writer, factory.name_only("writer"))
        LOGGER.info("predict %d of %d inputs were predicted; results are in %s", len(files) - len(skipped), len(files), folder)


def predict_shard(plan: RunPlan, world: "World", predictor: Predictor, predictions: PredictionWriter) -> None:
    draws = plan.config.run.predict.config.save_images
    mine = range(world.rank, len(predictions.files), world.size)
    reading = guard_workers(lambda: f"one of {len(mine)} inputs")
    keys = [list(mine[start : start + predictor.batch_size]) for start in range(0, len(mine), predictor.batch_size)]
    every = plan.config.run.private.log.every_seconds
    with predictions.part(world.rank) as part, reading:
        batches = read_batches(plan, predictor, predictions.files, keys)
        for numbers, batch in show_progress(batches, "predict batch", len(keys), every, is_main=world.is_main):
            for number, each, outcome in zip(numbers, batch, predictor.outcomes(batch), strict=True):
                picture = each.picture if draws and isinstance(each, Input) else None
                part.add(number, outcome, picture)


def read_batches(
    plan: RunPlan, predictor: Predictor, files: Sequence[Path], keys: Sequence[list[int]]
) -> Iterator[tuple[list[int], list[Input | str]]]:
    """Return an iterator over the numbers (`keys`) and inputs of each batch, read by loader workers if the config has any.

    An input that cannot be used is replaced by its error message.
    """
    run = plan.config.run
    loader = make_loader(
        InputDataset(files, predictor.reader), keys, num_workers=run.dataloader.num_workers, timeout=run.ddp.timeout
    )
    return zip(keys, start_loader(loader), strict=True)


@attrs.frozen
class InputDataset:
    """Dataset of the inputs, indexed by their number."""

    files: Sequence[Path]
    reader: Reader

    def __getitem__(self, number: int) -> Input | str:
        return self.reader(self.files[number])
