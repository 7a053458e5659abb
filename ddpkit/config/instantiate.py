"""Creation of the components that a config names, with the parameters that it sets."""

import importlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, get_args

import attrs

from ddpkit.config import schema
from ddpkit.config.classes import class_names, n_classes
from ddpkit.config.component_refs import ComponentRef, find_entry, references
from ddpkit.config.image_transform import ImageTransform
from ddpkit.config.loading import Config
from ddpkit.config.parameters import Parameters
from ddpkit.config.requirements import find_wrong_object
from ddpkit.errors import ComponentName, ConfigError, add_component_note
from ddpkit.plugins import signatures
from ddpkit.plugins.component import Component, Draws, Gives
from ddpkit.plugins.local_files import LOCAL
from ddpkit.plugins.registry import BUILTIN, Registry

LOGGER = logging.getLogger(__name__)


@attrs.frozen
class ComponentFactory:
    """Factory for the components of one run."""

    config: Config
    registry: Registry

    @property
    def run(self) -> schema.Run:
        """Typed tables of the config."""
        return self.config.run

    def transforms(self, *, training: bool) -> tuple[list[Any], list[Any]]:
        """Create the transforms. Return those for single samples, and those at the end of the list that accept whole batches.

        Transforms with `train_only` are left out unless `training` is true.
        """
        chosen = self.transform_refs(training=training)
        tail = len(chosen)
        while tail and self.component_of(chosen[tail - 1]).batchable:
            tail -= 1
        per_sample = [self.sample_transform(reference) for reference in chosen[:tail]]
        return per_sample, [self.create(reference) for reference in chosen[tail:]]

    def transform_refs(self, *, training: bool) -> list[ComponentRef]:
        named = self.refs_of("transform")
        return [reference for reference in named if training or not self.component_of(reference).train_only]

    def transform_names(self, *, training: bool) -> list[ComponentName]:
        """Return the names of the transforms, in the order of `transforms`: first those for single samples."""
        return [self.name_of(reference) for reference in self.transform_refs(training=training)]

    def sample_transform(self, reference: ComponentRef) -> Callable[[Any, Any], Any]:
        """Create a transform that is called with image and target. Raises ConfigError if the object accepts only an image."""
        made: Callable[..., Any] = self.create(reference)
        if self.component_of(reference).image_only:
            return ImageTransform(made)
        if not signatures.accepts_inputs(made, 2):
            raise self.wrong_object(reference, f"its object accepts only the image; {IMAGE_ONLY}")
        return made

    def class_values(self) -> dict[str, Any]:
        """Return the run-time values `classes` and `n_classes`, which is None if it is not known."""
        return {"classes": class_names(self.run), "n_classes": n_classes(self.run)}

    def draws_of(self, *kinds: str) -> frozenset[Draws]:
        """Return the random generators that the components of these kinds draw from; all if one does not declare them."""
        declared = [self.component_of(reference).draws for reference in references(self.run) if reference.kind in kinds]
        return frozenset(name for draws in declared for name in (get_args(Draws) if draws is None else draws))

    def refs_of(self, kind: str) -> list[ComponentRef]:
        """Return the references to components of a kind, in the order of the config."""
        return [reference for reference in references(self.run) if reference.kind == kind]

    def component_of(self, reference: ComponentRef) -> Component:
        """Return the component that a reference names. Raises UnknownNameError."""
        return find_entry(reference, self.registry).component

    @property
    def gives(self) -> Gives | None:
        """Content of the predictions; None without a postprocess, or if it does not declare it."""
        return next((self.component_of(reference).gives for reference in self.refs_of("postprocess")), None)

    def parameters_of(self, reference: ComponentRef) -> Parameters:
        """Return the parameters that a component has."""
        component = self.component_of(reference)
        return Parameters(reference.kind, component, signatures.inspect_target(component.target))

    def params_of(self, reference: ComponentRef) -> dict[str, Any]:
        """Return the values of a component's parameters, without those of the run: set by the TOML or the plugin, or defaults."""
        parameters = self.parameters_of(reference)
        return {**parameters.signature.defaults, **parameters.call_arguments(reference.named_params(parameters), {})}

    def create_only(self, kind: str, **runtime: Any) -> Any:
        """Create the component of a kind that the config names once, such as the model."""
        return self.create(self.refs_of(kind)[0], **runtime)

    def create(self, reference: ComponentRef, **runtime: Any) -> Any:
        """Call the target with its TOML parameters, its bound ones, and the run-time values that it gets.

        Raises ConfigError at the table of the parameters if the target raises ValueError or TypeError (an optimizer:
        RuntimeError too), and at the name of the component if the returned object does not fit its kind. The target's traceback
        is logged at DEBUG level, see `private.log.debug`.
        """
        parameters = self.parameters_of(reference)
        arguments = parameters.call_arguments(reference.named_params(parameters), runtime)
        if parameters.from_run.get("n_classes") in parameters.signature.required - arguments.keys():
            own = f"set 'n_classes' in the 'config' of this {reference.kind}"
            remedy = "set 'n_classes'" if reference.kind == "model" else f"set 'classes', their names, or {own}"
            message = f"{reference.name!r} requires the number of classes, which the data does not show; {remedy}"
            raise ConfigError([self.config.problem(reference.path, message)])
        try:
            made = signatures.import_target(parameters.component.target)(**arguments)
        except PARAMETER_ERRORS.get(reference.kind, (ValueError, TypeError)) as error:
            LOGGER.debug("%s %s does not accept the parameters in the config", reference.kind, reference.name, exc_info=True)
            raise ConfigError([self.config.problem(reference.params_path, format_refusal(reference, error))]) from error
        except Exception as error:
            add_component_note(error, self.name_of(reference))
            raise
        if wrong := find_wrong_object(reference.kind, made, runtime):
            raise self.wrong_object(reference, wrong)
        return made

    def wrong_object(self, reference: ComponentRef, message: str) -> ConfigError:
        """Return the error for a component whose object does not fit its kind."""
        return ConfigError([self.config.problem(reference.path, f"{self.name_of(reference)}: {message}")])

    def name_only(self, kind: str) -> ComponentName:
        """Return the name of the component of a kind that the config names once, such as the model."""
        return self.name_of(self.refs_of(kind)[0])

    def name_of(self, reference: ComponentRef) -> ComponentName:
        """Return the name of a component, for messages; for a third-party one, with its plugin and its file (imports it)."""
        entry = find_entry(reference, self.registry)
        text = f"{reference.kind} {(reference.key or reference.name)!r}"
        if entry.namespace == BUILTIN:
            return ComponentName(text, reference.path)
        file = getattr(importlib.import_module(entry.component.target.partition(":")[0]), "__file__", None)
        distribution = "" if entry.distribution.endswith(f" {LOCAL}") else entry.distribution
        origin = ", ".join(part for part in (entry.qualified_name, distribution, file) if part)
        return ComponentName(f"{text} ({origin})", reference.path)


IMAGE_ONLY = "if it needs only the image, declare it with 'image_only=True' in its Component"
"""Remedy for a transform that does not return image and target."""
PARAMETER_ERRORS: Mapping[str, tuple[type[Exception], ...]] = {"optimizer": (ValueError, TypeError, RuntimeError)}
"""Kind -> exceptions of a target that mean wrong parameters; the default is ValueError and TypeError."""


def format_refusal(reference: ComponentRef, error: Exception) -> str:
    return f"{reference.kind} {reference.name!r} does not accept these parameters: {error}"
