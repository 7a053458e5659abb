"""Optimizers: torch's classes as they are."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_optimizers() -> Iterator[Component]:
    """The optimizers."""
    yield Component("sgd", "torch.optim:SGD", doc="stochastic gradient descent, with momentum if asked")
    yield Component("adam", "torch.optim:Adam", doc="Kingma and Ba 2015")
    yield Component("adamw", "torch.optim:AdamW", doc="Adam with decoupled weight decay, Loshchilov and Hutter 2019")
