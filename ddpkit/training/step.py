"""Step of a run, which computes the losses of a micro-batch, and its context."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor, nn

from ddpkit.data import seeding
from ddpkit.data.sampler import Shard
from ddpkit.errors import ComponentName, add_component_note
from ddpkit.training.helpers import FrozenModel
from ddpkit.training.losses import Losses
from ddpkit.training.precision import Precision
from ddpkit.training.step_output import StepOutput


class Criteria(Protocol):
    """Criteria of a run as a step uses them; see `Losses`."""

    def inputs(self, images: Any, targets: Any) -> tuple[Any, ...]:
        """Return the inputs of the model in training."""

    def __call__(self, outputs: Any, targets: Any) -> list[Tensor]:
        """Return the unweighted terms."""

    def loss(self, values: Any) -> Any:
        """Return the weighted sum of the unweighted terms."""


@attrs.define(kw_only=True)
class StepContext:
    """What a step gets in addition to the samples of a micro-batch.

    The numbers of the micro-batch are set before each call of the step.
    """

    module: nn.Module
    """The model without DDP, to access its parts and attributes. In evaluation, it may be the EMA of the model."""
    network: nn.Module
    """The model as `model` calls it: wrapped in DDP if several ranks train it."""
    precision: Precision
    criteria: Criteria = attrs.field(factory=lambda: Losses([]))
    """`criteria(outputs, targets)` returns the terms of `[[criterion]]` as a list of scalars, without their weights in the sum.
    If a step returns this list as its losses, each term has a column in the history, and a criterion may have its own weight."""
    helpers: Mapping[str, FrozenModel] = attrs.field(factory=dict)
    """Models that are not trained, by name (`[train.helpers]`). Each is called like a function, without gradients."""
    seed: int
    rank: int
    n_ranks: int
    device: torch.device
    is_training: bool = True
    epoch: int = 1
    """Number of the epoch (1-based). In a validation, it is the epoch that has just been trained; in a test, the last epoch."""
    step: int = 1
    """Number of the optimizer step over all epochs (1-based); 0 in evaluation."""
    micro_batch: int = 1
    """Number of the micro-batch (1-based): in the optimizer step, or in the evaluation."""
    shard: Shard = attrs.field(factory=lambda: Shard([], 0, 0, 0))
    """Samples of this rank in the micro-batch."""
    is_model_called: bool = False

    def model(self, *inputs: Any) -> Any:
        """Return the outputs of the model, in at least float32; `inputs` are converted to the number format of the run."""
        self.is_model_called = True
        return self.precision(self.network, *inputs)

    def call(self, part: nn.Module, *inputs: Any) -> Any:
        """Return the outputs of a part of the model, as `model` does for all of it."""
        return self.precision(part, *inputs)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the weighted sum of `[[criterion]]`, a scalar, for a step that adds a loss of its own."""
        total: Tensor = self.criteria.loss(self.criteria(outputs, targets))
        return total

    @property
    def indices(self) -> Sequence[int]:
        """Index of each sample in the dataset, for a step that stores something for each sample."""
        return self.shard.indices

    def generator(self, key: str) -> torch.Generator:
        """Return a new CPU generator for random numbers that are the same on all ranks, such as the weight of a mixture.

        It is seeded with the seed of the run, the key, and the micro-batch. Each call returns the same numbers.
        """
        return seeding.generator_for("step", key, self.mode, self.seed, self.epoch, self.step, self.micro_batch)

    @property
    def mode(self) -> str:
        """Part of the keys of random numbers."""
        return "train" if self.is_training else "evaluate"

    def draw(self, key: str, sample: Callable[[torch.Generator], Tensor]) -> Tensor:
        """Return random numbers for each sample: [B, ...], on the device of the run.

        The numbers of a sample depend only on the seed of the run, the key, the epoch and the index of the sample. Therefore N
        ranks draw the same numbers as one.

        Args:
            key: Purpose of the numbers, such as `noise`; another key gives other numbers.
            sample: Function that draws the numbers of one sample from a CPU generator.
        """
        keys = (("draw", key, self.mode, self.seed, self.epoch, index) for index in self.shard.indices)
        return torch.stack([sample(seeding.generator_for(*each)) for each in keys]).to(self.device)


Step = Callable[[StepContext, Any, Any], Any]
"""`(context, images, targets)` -> losses, or a `StepOutput`."""


@attrs.frozen
class NamedStep:
    """Step of a run, with its name for messages."""

    step: Step
    name: ComponentName | None = None

    def __call__(self, context: StepContext, images: Any, targets: Any) -> StepOutput:
        """Return the losses and outputs of a micro-batch."""
        try:
            found = self.step(context, images, targets)
        except Exception as error:
            add_component_note(error, self.name)
            raise
        return found if found.__class__ is StepOutput else StepOutput(found)
