"""Loggers: they pass the history of a run, one row per epoch, and the results of its test to other programs."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_loggers() -> Iterator[Component]:
    """Yield the built-in loggers.

    `mlflow` and `wandb` declare no requirement: without it, the run logs a warning and continues.
    """
    here = "ddpkit_plugins.loggers"
    yield Component(
        "tensorboard", f"{here}.tensorboard:TensorBoard", doc="event files for TensorBoard", requires=("tensorboard>=2.15",)
    )
    yield Component("mlflow", f"{here}.mlflow:MLflow", doc="runs in a folder or at a server of MLflow; never fatal")
    yield Component("wandb", f"{here}.wandb:WeightsAndBiases", doc="runs at Weights & Biases, online or offline; never fatal")
