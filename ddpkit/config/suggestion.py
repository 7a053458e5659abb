"""Config for a user's own data, suggested by the dataset that recognises the data."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

from ddpkit.config import loading
from ddpkit.config.check import ranks_in_file, validate
from ddpkit.config.new_config import Language, new_config
from ddpkit.errors import ConfigError, Diagnostic, list_first
from ddpkit.plugins.manager import Plugins
from ddpkit.plugins.registry import BUILTIN, Entry, Registry
from ddpkit.plugins.signatures import import_target
from ddpkit.plugins.starter import Starter, StarterFunction
from ddpkit.terminal import escape

SHOWN = 5
"""Maximum number of files of an unknown folder in a message."""


@attrs.frozen
class Suggestion:
    """Valid config for the data."""

    dataset: Entry
    starter: Starter
    text: str
    """The TOML."""
    lacks: tuple[str, ...]
    """Messages about libraries that the config requires and that are not installed."""


@attrs.define
class Recognition:
    """Search for the dataset that recognises the data at `path`, in a folder called `folder`."""

    path: Path
    folder: str
    language: Language
    plugins: Plugins
    mistakes: list[str] = attrs.field(factory=list)
    """Reasons of the datasets that could read the data after a correction."""
    warnings: list[str] = attrs.field(factory=list)
    """Messages about third-party datasets that failed."""

    def first(self) -> Suggestion:
        """Return the suggestion of the first dataset that recognises the data. Raises ConfigError if none does."""
        for entry in starting_datasets(self.plugins.registry):
            try:
                if suggestion := self.ask(entry):
                    return suggestion
            except ValueError as error:
                self.mistakes.append(f"{entry.component.doc} ({entry.component.name}): {error}")
            except Exception as error:
                if entry.namespace == BUILTIN:
                    raise
                problem = f"{type(error).__name__}: {error}"
                self.warnings.append(f"dataset {entry.qualified_name!r} ({entry.distribution}) failed: {problem}")
        raise ConfigError([Diagnostic(str(self.path), (), text) for text in self.mistakes or [self.not_recognised()]])

    def ask(self, entry: Entry) -> Suggestion | None:
        """Return the suggestion of a dataset; None if it does not recognise the data.

        Raises ValueError for a mistake in the data, RuntimeError for an invalid config, and any other error of the dataset.
        """
        function: StarterFunction = import_target(entry.component.starter or "")
        starter = function(self.path)
        if starter is None:
            return None
        try:
            text = new_config(starter, self.folder, self.language)
            return Suggestion(entry, starter, text, tuple(missing_libraries(text, self.plugins)))
        except ValueError as error:
            raise RuntimeError(f"the suggested config cannot be written: {error}") from error

    def not_recognised(self) -> str:
        """Return the message for data that no dataset recognises."""
        names = sorted(each.name for each in self.path.iterdir()) if self.path.is_dir() else []
        content = f"; it contains {list_first(names, SHOWN)}" if names else "; it is empty" * self.path.is_dir()
        expected = "; ".join(each.component.doc for each in starting_datasets(self.plugins.registry))
        return f"the data was not recognised{content}; expected one of: {expected} (see docs/data.md)"


def starting_datasets(registry: Registry) -> list[Entry]:
    """Return the datasets that recognise data: the built-in ones as declared, then the others by name."""
    found = [entry for entry in registry if entry.kind == "dataset" and entry.component.starter]
    builtin = [entry for entry in found if entry.namespace == BUILTIN]
    return builtin + sorted((each for each in found if each.namespace != BUILTIN), key=lambda entry: entry.qualified_name)


def missing_libraries(text: str, plugins: Plugins) -> Iterator[str]:
    """Check a config as `ddpkit check` does, and yield its mistakes that an installation corrects.

    Raises RuntimeError for any other mistake: the suggestion is wrong.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "suggested.toml"
        file.write_text(text, encoding="utf-8")
        try:
            config = loading.load(file)
        except ConfigError as error:
            raise RuntimeError(f"the suggested config is not valid: {error}") from error
    report = validate(config, plugins, ranks_in_file(config.run))
    if report.problems and not report.needs_failed_plugin:
        raise RuntimeError(f"the suggested config is not valid: {'; '.join(map(str, report.problems))}")
    yield from dict.fromkeys(escape(problem.message) for problem in report.problems)
