"""Classes of the data: they complete `classes` and `model.config.n_classes`, or are compared with them."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from ddpkit.config.classes import OUTPUTS, configured_outputs, covers, foreground_names, number_missing
from ddpkit.config.component_refs import references
from ddpkit.config.instantiate import ComponentFactory
from ddpkit.config.loading import Config
from ddpkit.data.labels import sample_labels
from ddpkit.data.loader import SeededDataset, SplitLoader
from ddpkit.errors import ConfigError, KeyPath
from ddpkit.plugins.hookspecs import Gives

LOGGER = logging.getLogger(__name__)
SHOWN = 5
"""Maximum number of class names in a message."""


@attrs.frozen
class KnownClasses:
    """What the config and the dataset tell about the classes; the background of boxes is not one of them."""

    given: Sequence[str]
    """Names in the config."""
    found: Sequence[str]
    """Names that the dataset has."""
    labels: Collection[int] = ()
    """The different labels in the data, without those that are ignored; empty if they are not known."""
    sample: str = ""
    """The sample with the largest label."""

    @property
    def n_named(self) -> int:
        """Number of classes with a name."""
        return max(len(self.given), len(self.found))

    @property
    def n(self) -> int:
        """Number of classes; 0 if nothing is known."""
        return max(self.n_named, max(self.labels, default=-1) + 1)

    @property
    def gap(self) -> int | None:
        """The first class that has neither a name nor a sample; None if there is none."""
        return next((label for label in range(self.n_named, self.n) if label not in self.labels), None)

    def __str__(self) -> str:
        if self.n > self.n_named:
            return f"{self.sample} has the label {self.n - 1}, so there are {self.n} classes"
        if self.n > len(self.found):
            return f"'classes' has {self.n} names"
        more = f" and {self.n - SHOWN} more" * (self.n > SHOWN)
        return f"the dataset has {self.n} classes: {', '.join(map(repr, self.found[:SHOWN]))}{more}"


@attrs.frozen
class ClassInference(ComponentFactory):
    """Completes the config of a new run with the classes of its data, and compares both."""

    loaders: Mapping[str, SplitLoader]

    @property
    def gives(self) -> Gives | None:
        """Content of the predictions; None without a postprocess, or if it does not declare it."""
        return next((self.component_of(reference).gives for reference in self.refs_of("postprocess")), None)

    def with_classes(self) -> Config:
        """Return the config with `classes` and, if the model has this parameter, `n_classes`.

        Raises ConfigError if an output is missing for a class, or if the labels have gaps; warns about outputs without a class.
        """
        known, model, n_outputs = self.known_classes(), self.run.model, configured_outputs(self.run)
        if not known.n:
            return self.config
        self.warn_about_missing_names(known)
        if n_outputs is not None:
            self.check_outputs(known, n_outputs, OUTPUTS)
        elif "n_classes" in self.signature_of("model").parameters:
            self.check_gaps(known)
            params = {**model.config.params, "n_classes": self.choose_outputs(known.n)}
            model = attrs.evolve(model, config=attrs.evolve(model.config, params=params))
        return self.config.with_run(model=model, classes=self.run.classes or number_missing(known.found, known.n))

    def with_outputs(self, n_outputs: int) -> Config:
        """Return the config with a name for each class that a model without the parameter `n_classes` distinguishes.

        Raises ConfigError if an output is missing for a class; warns about outputs without a class.
        """
        known = self.known_classes()
        self.check_outputs(known, n_outputs, ("model", "config"))
        return self.config.with_run(classes=number_missing(self.run.classes or known.found, n_outputs))

    def known_classes(self) -> KnownClasses:
        """Return the classes that are known. Raises ConfigError if the dataset finds a mistake in its classes."""
        train = self.loaders["train"].samples
        try:
            names = foreground_names(train.info.classes, self.gives)
            known = KnownClasses(foreground_names(self.run.classes, self.gives), names)
            if self.gives in ("boxes", "labels"):
                return known
            known = self.with_labels(known)
            if not known.labels and not known.found and train.info.distinct_labels:
                labels = {*train.info.distinct_labels} - ignored_labels(self.config)
                return attrs.evolve(known, labels=labels, sample="a sample")
        except (ValueError, OSError) as error:
            raise ConfigError([self.config.problem(("dataset",), str(error))]) from error
        return known

    def with_labels(self, known: KnownClasses) -> KnownClasses:
        """Return the classes with the labels of all splits.

        Labels are classes if the dataset names its classes, or if the predictions are classes.
        """
        if not known.found and self.gives != "class":
            return known
        sample_of: dict[int, tuple[SeededDataset, int]] = {}
        for loader in self.loaders.values():
            indices = loader.sampler.indices
            labels_of = zip(sample_labels(loader.samples.dataset, indices) or [], indices, strict=False)
            for label, index in labels_of:
                sample_of.setdefault(label, (loader.samples, index))
        labels = {label for label in sample_of if label >= 0} - ignored_labels(self.config)
        if not labels:
            return known
        samples, index = sample_of[max(labels)]
        return attrs.evolve(known, labels=labels, sample=samples.name((0, index)))

    def choose_outputs(self, n_classes: int) -> int:
        """Return the number of outputs for these classes.

        For two classes, it is what criteria and postprocess require, else the default of the model if that is a single logit.
        """
        if n_classes != 2 or self.gives in ("boxes", "labels"):  # noqa: PLR2004 - one logit distinguishes two classes
            return n_classes
        has_one = self.signature_of("model").defaults.get("n_classes") == 1
        return max(self.required_for_two().values(), default=1 if has_one else n_classes)

    def required_for_two(self) -> dict[str, int]:
        """Return the criteria and postprocesses that require a certain number of outputs for two classes."""
        named = [*self.refs_of("criterion"), *self.refs_of("postprocess")]
        required = {f"{each.kind} {each.name!r}": self.component_of(each).binary_outputs for each in named}
        return {name: n for name, n in required.items() if n}

    def check_outputs(self, known: KnownClasses, n_outputs: int, path: KeyPath) -> None:
        """Raise ConfigError at `path` if outputs are missing; warn about outputs without a class."""
        remedy = f"set n_classes = {known.n}" if path == OUTPUTS else f"configure the model for {known.n} outputs"
        if known.n > known.n_named:
            remedy += ", or set 'ignore_index' if this label is not a class"
        is_single_logit = covers(n_outputs, known.n) and self.gives not in ("boxes", "labels")
        if n_outputs < known.n and not is_single_logit:
            raise ConfigError([self.config.problem(path, f"the model has {n_outputs} outputs, but {known}; {remedy}")])
        if n_outputs < known.n:
            for name in [name for name, n in self.required_for_two().items() if n > n_outputs]:
                raise ConfigError([self.config.problem(path, f"{name} requires one output per class, but {known}; {remedy}")])
        if n_outputs > known.n > len(known.given):
            message = f"the model has {n_outputs} outputs, but {known}; {remedy}, unless you want more outputs"
            LOGGER.warning("%s", self.config.problem(path, message))

    def check_gaps(self, known: KnownClasses) -> None:
        """Raise ConfigError if the number of classes is not certain, because a label between others does not occur."""
        if known.gap is not None:
            message = f"{known.sample} has the label {known.n - 1}, but no sample has the label {known.gap}"
            remedy = "set 'ignore_index' if it is not a class, else set 'classes' or 'model.config.n_classes'"
            raise ConfigError([self.config.problem(("dataset",), f"{message}; {remedy}")])

    def warn_about_missing_names(self, known: KnownClasses) -> None:
        """Warn if the config names only some of the classes, and `check` has not warned about it."""
        if 0 < len(known.given) < known.n and len(known.given) >= (configured_outputs(self.run) or 0):
            message = f"the number of class names is {len(known.given)}, but {known}; classes without a name are numbered"
            LOGGER.warning("%s", self.config.problem(("classes",), message))


def ignored_labels(config: Config) -> set[Any]:
    """Return the labels that mean "no class": the keys `ignore_index` of all components."""
    tables = [reference.params for reference in references(config.run) if isinstance(reference.params, Mapping)]
    return {table["ignore_index"] for table in tables if "ignore_index" in table}
