"""Classes of the data: they complete `classes` and `model.config.n_classes`, or are compared with them."""

import functools
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Self

import attrs
import numpy as np

from ddpkit.config.classes import OUTPUTS, configured_outputs, covers, foreground_names, number_missing
from ddpkit.config.instantiate import ComponentFactory
from ddpkit.config.loading import Config
from ddpkit.config.parameters import Parameters
from ddpkit.data.labels import sample_labels
from ddpkit.data.loader import N_SANITY_SAMPLES, SeededDataset, SplitLoader
from ddpkit.errors import ConfigError, KeyPath, list_first
from ddpkit.plugins.registry import Registry

LOGGER = logging.getLogger(__name__)
SHOWN = 5
"""Maximum number of class names in a message."""
BINARY = 2


@attrs.frozen
class KnownClasses:
    """What the config and the dataset tell about the classes; the background of boxes is not one of them."""

    given: Sequence[str]
    """Names in the config."""
    found: Sequence[str]
    """Names that the dataset has."""
    labels: Collection[int] = ()
    """The different labels in the data, without those that are ignored; empty if they are not known."""
    ignored: Collection[Any] = ()
    """Labels that mean "no class"."""
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
        known = {*self.labels, *self.ignored}
        return next((label for label in range(self.n_named, self.n) if label not in known), None)

    def __str__(self) -> str:
        if self.n > self.n_named:
            return f"{self.sample} has the label {self.n - 1}, so there are {self.n} classes"
        if self.n > len(self.found):
            return f"'classes' has {self.n} names"
        return f"the dataset has {self.n} classes: {list_first([*map(repr, self.found)], SHOWN)}"


@attrs.frozen
class ClassInference(ComponentFactory):
    """Completes the config of a new run with the classes of its data, and compares both."""

    loaders: Mapping[str, SplitLoader]

    @classmethod
    def of(cls, config: Config, registry: Registry, loaders: Mapping[str, SplitLoader]) -> Self:
        """Create the object. If the config sets the number of outputs by the model's own name, it is `n_classes` too."""
        made, model = cls(config, registry, loaders), config.run.model
        n_outputs = model.config.params.get(str(made.outputs_path[-1]))
        if type(n_outputs) is not int:
            return made
        params = {"n_classes": n_outputs, **model.config.params}
        return attrs.evolve(
            made, config=config.with_run(model=attrs.evolve(model, config=attrs.evolve(model.config, params=params)))
        )

    @property
    def model_parameters(self) -> Parameters:
        """Parameters of the model."""
        return self.parameters_of(self.refs_of("model")[0])

    @property
    def outputs_path(self) -> KeyPath:
        """Key path of the number of outputs; a model may have another name for `n_classes`, such as `num_classes`."""
        name = self.model_parameters.from_run.get("n_classes", "n_classes")
        own = (*OUTPUTS[:-1], name)
        return own if self.config.written(own) else OUTPUTS

    @property
    def predicts_classes(self) -> bool:
        """Whether each output is known to be a class: a regression may have the same data."""
        return self.gives is not None or bool(self.required_for_two())

    @property
    def train(self) -> SeededDataset:
        """Samples of the training split."""
        return self.loaders["train"].samples

    def with_classes(self) -> Config:
        """Return the config with `classes` and, if the model has this parameter, `n_classes`.

        Raises ConfigError if an output is missing for a class, or if the number of classes is not certain; warns about outputs
        without a class.
        """
        known, model = self.known, self.run.model
        if not known.n:
            return self.config
        self.warn_about_missing_names(known)
        if "n_classes" in model.config.params:
            self.check_outputs(known, configured_outputs(self.run), self.outputs_path)
        elif "n_classes" in self.model_parameters.from_run:
            self.check_certain(known)
            params = {**model.config.params, "n_classes": self.choose_outputs(known.n)}
            model = attrs.evolve(model, config=attrs.evolve(model.config, params=params))
        return self.config.with_run(model=model, classes=self.run.classes or number_missing(known.found, known.n))

    def with_outputs(self, n_outputs: int) -> Config:
        """Return the config with a name for each class that a model without the parameter `n_classes` distinguishes.

        Raises ConfigError if an output is missing for a class; warns about outputs without a class.
        """
        self.check_outputs(self.known, n_outputs, ("model", "config"))
        return self.config.with_run(classes=number_missing(self.run.classes or self.known.found, n_outputs))

    @functools.cached_property
    def known(self) -> KnownClasses:
        """The classes that are known. Raises ConfigError if the dataset finds a mistake in its classes."""
        found = self.train.info.classes
        n_outputs = configured_outputs(self.run) or len(found)
        known = KnownClasses(foreground_names(self.run.classes, self.gives, n_outputs), found, ignored=self.ignored_labels())
        if not self.predicts_classes or self.gives in ("boxes", "labels"):
            return known
        if self.are_targets_labels():
            return self.with_labels(known)
        if known.n_named >= BINARY:
            return known
        try:
            labels = {*(self.train.info.distinct_labels or ())} - {*known.ignored}
        except (ValueError, OSError) as error:
            is_skipped = self.run.dataset.on_error == "skip"
            hint = "; set 'classes', so that not all samples are read at the start" if is_skipped else ""
            raise ConfigError([self.config.problem(("dataset",), f"{error}{hint}")]) from error
        return attrs.evolve(known, labels=labels | ({1} if labels == {0} else set()), sample="a sample")

    def are_targets_labels(self) -> bool:
        """Return whether the dataset's `targets` are the targets of the samples; a transform may change them."""
        indices = self.loaders["train"].sampler.indices[:N_SANITY_SAMPLES]
        labels = sample_labels(self.train.dataset, indices)
        return labels is not None and all(
            np.ndim(target) == 0 and target == label
            for label, target in zip(labels, (self.train[0, index][1] for index in indices), strict=True)
        )

    def with_labels(self, known: KnownClasses) -> KnownClasses:
        """Return the classes with the labels of the samples of all splits."""
        sample_of: dict[int, tuple[SeededDataset, int]] = {}
        for loader in self.loaders.values():
            indices = loader.sampler.indices
            for label, index in zip(sample_labels(loader.samples.dataset, indices) or [], indices, strict=False):
                sample_of.setdefault(label, (loader.samples, index))
        labels = {label for label in sample_of if label >= 0} - {*known.ignored}
        if not labels:
            return known
        samples, index = sample_of[max(labels)]
        return attrs.evolve(known, labels=labels, sample=samples.name((0, index)))

    def ignored_labels(self) -> set[Any]:
        """Return the labels that mean "no class": the keys `ignore_index` of the criteria and of the dataset."""
        found = {self.params_of(each).get("ignore_index") for each in [*self.refs_of("criterion"), *self.refs_of("dataset")]}
        return found - {None}

    def choose_outputs(self, n_classes: int) -> int:
        """Return the number of outputs for these classes.

        For two classes, it is what criteria and postprocess require, else the default of the model if that is a single logit.
        """
        if n_classes != BINARY or self.gives in ("boxes", "labels") or self.has_multilabel_targets():
            return n_classes
        parameters = self.model_parameters
        has_one = parameters.signature.defaults.get(parameters.from_run["n_classes"]) == 1
        return max(self.required_for_two().values(), default=1 if has_one else n_classes)

    def has_multilabel_targets(self) -> bool:
        """Return whether the target of a sample is a list of labels."""
        return np.ndim(self.train[0, self.loaders["train"].sampler.indices[0]][1]) == 1

    def required_for_two(self) -> dict[str, int]:
        """Return the criteria and postprocesses that require a certain number of outputs for two classes."""
        named = [*self.refs_of("criterion"), *self.refs_of("postprocess")]
        required = {f"{each.kind} {each.name!r}": self.component_of(each).binary_outputs for each in named}
        return {name: n for name, n in required.items() if n}

    def check_outputs(self, known: KnownClasses, n_outputs: int | None, path: KeyPath) -> None:
        """Raise ConfigError at `path` if outputs are missing; warn about outputs without a class.

        Outputs that fit the names in the config are right: a transform may change the classes of the dataset.
        """
        if n_outputs is None or not self.predicts_classes or n_outputs == len(known.given):
            return
        if problems := list(self.output_problems(known, n_outputs, path)):
            raise ConfigError([self.config.problem(path, problem) for problem in problems])
        if n_outputs > known.n > len(known.given):
            message = f"the model has {n_outputs} outputs, but {known}; set another number if this is not intended"
            LOGGER.warning("%s", self.config.problem(path, message))

    def output_problems(self, known: KnownClasses, n_outputs: int, path: KeyPath) -> Iterator[str]:
        """Yield why the outputs are too few for the classes."""
        remedy = f"set {path[-1]} = {known.n}" if len(path) == len(OUTPUTS) else f"configure the model for {known.n} outputs"
        if known.n > known.n_named:
            remedy += ", or set 'ignore_index' if this label is not a class"
        is_single_logit = covers(n_outputs, known.n) and self.gives not in ("boxes", "labels")
        if n_outputs < known.n and not is_single_logit:
            yield f"the model has {n_outputs} outputs, but {known}; {remedy}"
        elif n_outputs < known.n:
            for name in [name for name, n in self.required_for_two().items() if n > n_outputs]:
                yield f"{name} requires one output per class, but {known}; {remedy}"

    def check_certain(self, known: KnownClasses) -> None:
        """Raise ConfigError if the number of classes is not certain: a label does not occur, or there is only one class."""
        if known.gap is not None:
            message = f"{known.sample} has the label {known.n - 1}, but no sample has the label {known.gap}"
            remedy = "set 'ignore_index' if it is not a class, else set 'classes' or 'model.config.n_classes'"
            raise ConfigError([self.config.problem(("dataset",), f"{message}; {remedy}")])
        if known.n == 1 and self.gives == "class":
            message = f"there is only one class: {', '.join([*known.given, *known.found][:1]) or 0}; check the folder of the data"
            raise ConfigError([self.config.problem(("dataset",), message)])

    def warn_about_missing_names(self, known: KnownClasses) -> None:
        """Warn if the config names only some of the classes, and `check` has not warned about it."""
        if 0 < len(known.given) < known.n and len(known.given) > (configured_outputs(self.run) or 0):
            message = f"the number of class names is {len(known.given)}, but {known}; classes without a name are numbered"
            LOGGER.warning("%s", self.config.problem(("classes",), message))
