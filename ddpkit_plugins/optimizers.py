"""Optimizers: torch's classes unchanged."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_optimizers() -> Iterator[Component]:
    """Yield the built-in optimizers."""
    yield Component("sgd", "torch.optim:SGD", doc="stochastic gradient descent, with optional momentum")
    yield Component("adam", "torch.optim:Adam", doc="Adam, Kingma and Ba 2015")
    yield Component("adamw", "torch.optim:AdamW", doc="Adam with decoupled weight decay, Loshchilov and Hutter 2019")
    yield Component("nadam", "torch.optim:NAdam", doc="Adam with Nesterov's momentum, Dozat 2016")
    yield Component("radam", "torch.optim:RAdam", doc="Adam with rectified adaptive learning rate, Liu et al. 2020")
    yield Component("rmsprop", "torch.optim:RMSprop", doc="RMSprop, Tieleman and Hinton 2012")
    yield Component("adagrad", "torch.optim:Adagrad", doc="Adagrad, Duchi, Hazan and Singer 2011")
    yield Component("adadelta", "torch.optim:Adadelta", doc="Adadelta, Zeiler 2012")
