"""Components: what the config names, made with the parameters that it gives."""

import logging
from collections.abc import Mapping
from typing import Any

import attrs

from ddpkit.config import schema
from ddpkit.config.component_refs import Reference, class_names, find, n_classes, references
from ddpkit.config.converter import structure
from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError
from ddpkit.plugins import signatures
from ddpkit.plugins.hookspecs import Component
from ddpkit.plugins.registry import Registry

LOGGER = logging.getLogger(__name__)


@attrs.frozen
class Maker:
    """Makes the components of one run."""

    config: Config
    registry: Registry

    @property
    def run(self) -> schema.Run:
        """The config's tables."""
        return self.config.run

    def transforms(self, *, training: bool) -> tuple[list[Any], list[Any]]:
        """Those that work on a sample, and the tail of those that can work on a batch."""
        named = self.named("transform")
        chosen = [reference for reference in named if training or not self.component(reference).train_only]
        tail = len(chosen)
        while tail and self.component(chosen[tail - 1]).batchable:
            tail -= 1
        made = [self.make(reference) for reference in chosen]
        return made[:tail], made[tail:]

    def classes(self) -> dict[str, Any]:
        """What criteria, metrics and postprocesses may ask for."""
        return {"classes": class_names(self.run), "n_classes": n_classes(self.run)}

    def named(self, kind: str) -> list[Reference]:
        """Where the config names components of a kind."""
        return [reference for reference in references(self.run) if reference.kind == kind]

    def component(self, reference: Reference) -> Component:
        """What a reference names."""
        return find(reference, self.registry).component

    def make_one(self, kind: str, **runtime: Any) -> Any:
        """The only component of a kind."""
        return self.make(self.named(kind)[0], **runtime)

    def make(self, reference: Reference, **runtime: Any) -> Any:
        """Call the target with its TOML keys and the run-time values that it names.

        A ValueError or TypeError that it raises is about the parameters: the user's mistake, shown at their table (its
        traceback with `private.log.debug`).
        """
        target = self.component(reference).target
        signature = signatures.inspected(target)
        params = {
            name: structure(value, signature.parameters.get(name, Any))[0]
            for name, value in reference.named_params(signature).items()
        }
        wanted = {name: value for name, value in runtime.items() if name in signature.parameters}
        try:
            return signatures.imported(target)(**(wanted | params))
        except REFUSALS.get(reference.kind, (ValueError, TypeError)) as error:
            LOGGER.debug("%s %s refuses its parameters", reference.kind, reference.name, exc_info=True)
            raise ConfigError([self.config.problem(reference.params_path, refusal(reference, error))]) from error


REFUSALS: Mapping[str, tuple[type[Exception], ...]] = {"optimizer": (ValueError, TypeError, RuntimeError)}
"""By kind, what a constructor raises about its parameters beside ValueError and TypeError: torch's optimizers."""


def refusal(reference: Reference, error: Exception) -> str:
    """What a component said of its parameters."""
    return f"{reference.kind} {reference.name!r} refuses this: {error}"
