"""Try the step, the postprocess and the metrics with a few samples before training, without changing the model."""

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.autograd import backward

from ddpkit.data.loader import N_SANITY_SAMPLES, SplitLoader
from ddpkit.errors import component_errors, named_errors
from ddpkit.training.evaluator import Evaluator
from ddpkit.training.freezing import FreezeSchedule
from ddpkit.training.gradients import backward_each
from ddpkit.training.heads import explain_mappings
from ddpkit.training.losses import Losses
from ddpkit.training.optimization import Optimization
from ddpkit.training.step import StepContext
from ddpkit.training.step_losses import NO_LOSS, RunLosses, StepLosses, as_mapping
from ddpkit.training.step_output import StepOutput
from ddpkit.training.trainer import set_train_mode, without_padding


@attrs.define
class FirstCriteria:
    """Criteria of a run in its first micro-batches. They check their inputs, and find the losses that a model computes itself."""

    losses: Losses
    check: Callable[[], None]
    """Function that raises an error if these losses do not fit the model."""
    is_used: bool = False

    def inputs(self, images: Any, targets: Any) -> tuple[Any, ...]:
        """Return the inputs of the model."""
        self.check()
        return self.losses.inputs(images, targets)

    def __call__(self, outputs: Any, targets: Any) -> list[Tensor]:
        """Return the unweighted terms."""
        self.check()
        self.is_used = True
        self.losses = self.losses.found_in(outputs)
        return self.losses.sanity_check(outputs, targets)

    def loss(self, terms: list[Tensor]) -> Tensor:
        """Return the weighted sum of the terms."""
        return self.losses.loss(terms)


@attrs.frozen(kw_only=True)
class SanityCheck:
    """The first micro-batches of a run, without a step of the optimizers. Every rank must call its methods.

    An exception of a component is passed on, before anything is written.
    """

    model: nn.Module
    context: StepContext
    """Argument of the step in training."""
    criteria: Losses
    check_criteria: Callable[[], None]
    """Function that raises an error if the criteria do not fit the model; called if the step uses them."""
    loader: SplitLoader
    """Loader of the training split."""
    evaluator: Evaluator
    freezing: FreezeSchedule
    optimizations: Sequence[Optimization]
    may_use_ddp: bool = True
    """Whether DDP averages the gradients of a step that calls the model; otherwise, they are averaged after the backward."""

    def run(self) -> "FirstSteps":
        """Run a training step for each phase of the schedule, and an evaluation of each split.

        The model and its gradients are restored afterwards, and the parameters of the first epoch are frozen.
        """
        unused: dict[str, int] = {}
        state = list(self.model.buffers())
        if self.evaluator.step.name:  # a step of a plugin may also change parameters, such as those of a mean teacher
            state += self.model.parameters()
        for epoch in reversed(self.freezing.phases):  # ends with the first epoch
            self.freezing.apply(epoch)
            set_train_mode(self.model, self.freezing.frozen_norms)
            criteria = FirstCriteria(self.criteria, self.check_criteria)
            with restored(state):
                trained = self.try_training(epoch, criteria)
            unused |= {name: epoch for name, each in self.model.named_parameters() if each.requires_grad and each.grad is None}
            for parameter in self.model.parameters():
                parameter.grad = None
        evaluated: RunLosses = self.criteria.in_evaluation
        with restored(state), torch.no_grad():
            for each in [self.loader, self.evaluator.valid, self.evaluator.test]:
                if each is not None:
                    evaluated = self.try_evaluation(each)
        with named_errors(self.evaluator.step.name):
            return FirstSteps(self.of_all_ranks(trained), self.of_all_ranks(evaluated), criteria.losses, unused)

    def of_all_ranks(self, losses: RunLosses) -> RunLosses:
        """Return the losses with the values that the step returned on any rank, because the ranks sum them together.

        Raises ValueError, on all ranks, if the ranks differ in anything else.
        """
        own = (
            [losses.names, losses.uses_ddp, losses.values]
            if isinstance(losses, StepLosses)
            else [losses.keys, losses.uses_ddp, []]
        )
        found = [json.loads(each) for each in self.evaluator.world.gather_str(json.dumps(own))]
        for rank, (names, uses_ddp, _) in enumerate(found):
            if names != found[0][0]:
                raise ValueError(f"the step returned the losses {found[0][0]} on rank 0, but {names} on rank {rank}; {SAME}")
            if uses_ddp != found[0][1]:
                raise ValueError(f"the step called context.model on only one of the ranks 0 and {rank}; {SAME}")
        values = dict.fromkeys(value for *_, each in found for value in each)
        return attrs.evolve(losses, values=[*values]) if isinstance(losses, StepLosses) else losses

    def try_training(self, epoch: int, criteria: FirstCriteria) -> RunLosses:
        """Run the step and backward with as few samples as the smallest shard has, because BatchNorm fails for a single value."""
        smallest, n_shards = self.loader.sampler.smallest_shard(), self.loader.sampler.n_shards
        images, targets, shard = self.loader.check_sample(min(max(smallest.n_total // n_shards, 1), 2))
        context = attrs.evolve(self.context, criteria=criteria, epoch=epoch, shard=shard)
        with without_padding(smallest, n_shards):
            found = self.evaluator.step(context, images, targets)
        losses = self.losses_of(found, criteria)
        uses_ddp = self.may_use_ddp and context.is_model_called and not losses.optimizers
        losses = attrs.evolve(losses, uses_ddp=uses_ddp)
        self.try_backward(losses, losses.terms_of(found))
        return losses

    def try_backward(self, losses: RunLosses, terms: Sequence[Tensor]) -> None:
        """Run the backward of the losses."""
        if isinstance(losses, StepLosses) and losses.optimizers:
            parameters = {each.name: each.parameters for each in self.optimizations}
            backward_each(losses.scaled_losses(terms, 1), parameters, backward)
        else:
            backward(losses.loss(terms))

    def try_evaluation(self, loader: SplitLoader) -> RunLosses:
        """Run the step, postprocess and metrics in evaluation mode."""
        images, targets, shard = loader.check_sample(N_SANITY_SAMPLES)
        self.model.eval()
        criteria, evaluator = FirstCriteria(self.criteria.in_evaluation, self.check_criteria), self.evaluator
        context = attrs.evolve(evaluator.context, criteria=criteria, epoch=evaluator.epochs, shard=shard)
        found = evaluator.step(context, images, targets)
        losses = self.losses_of(found, criteria)
        losses.terms_of(found)
        if found.outputs is None:
            return losses
        with component_errors(evaluator.postprocess_name), explain_mappings(found.outputs):
            predictions = evaluator.postprocess(found.outputs)
        with warnings.catch_warnings(action="ignore"):  # torchmetrics warns about classes that are absent from these few samples
            for metric in evaluator.metrics.values():
                metric.sanity_check(found.outputs, predictions, targets)
                metric.compute()
        return losses

    def losses_of(self, found: StepOutput, criteria: FirstCriteria) -> RunLosses:
        """Return the losses of the run: the criteria, if the step returned their terms, or those of the step itself.

        Raises ValueError if the output of the step cannot be used.
        """
        evaluator = self.evaluator
        with named_errors(evaluator.step.name):
            if found.outputs is None and not self.model.training and evaluator.metrics:
                raise ValueError(NO_OUTPUTS)
            if isinstance(found.losses, list):
                if found.values:
                    raise ValueError(LIST_WITH_VALUES)
                criteria.losses.terms_of(found)
                return criteria.losses
            if criteria.is_used and criteria.losses.is_weighted:
                raise ValueError(WEIGHTED)
            names = [each.name for each in self.optimizations]
            losses = StepLosses.found_in(found, names, evaluator.metrics, evaluator.world.device)
            if self.model.training and not any(each.requires_grad for each in as_mapping(found.losses).values()):
                raise ValueError(NO_LOSS)
            return losses


@contextlib.contextmanager
def restored(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Restore the values of the tensors after the context."""
    before = [tensor.detach().clone() for tensor in tensors]
    yield
    with torch.no_grad():
        for tensor, old in zip(tensors, before, strict=True):
            tensor.copy_(old)


@attrs.frozen
class FirstSteps:
    """What the first micro-batches told about a run."""

    trained: RunLosses
    """Losses in training, with the names that the step returns."""
    evaluated: RunLosses
    """Losses in evaluation."""
    criteria: Losses
    """Criteria of the training; the losses that a model computes itself now have names."""
    unused: Mapping[str, int]
    """Names of trained parameters that got no gradient, each with the first epoch in which this happens."""


SAME = "it must do the same on all ranks"
NO_OUTPUTS = """\
the step returned no outputs in evaluation, which the metrics need; return ddpkit.StepOutput(losses, outputs), or remove \
'metrics'"""
LIST_WITH_VALUES = """\
the step returned values and the terms of context.criteria(outputs, targets); return their sum instead: \
context.loss(outputs, targets)"""
WEIGHTED = """\
the step returned a loss of its own, which is a mean over samples, but a criterion is a mean over the weight of its targets; \
return what context.criteria(outputs, targets) returns, or use a criterion without class weights and ignored targets"""
