"""The value of a metric, with the values of each class and the confusion matrix that it was computed from."""

from collections.abc import Sequence


class Score(float):
    """A number like any other, which may know its parts."""

    per_class: Sequence[float] = ()
    """One number a class; not a number where there is nothing of it."""
    confusion: Sequence[Sequence[int]] = ()
    """Samples by class: a row a true one, a column a predicted one."""
