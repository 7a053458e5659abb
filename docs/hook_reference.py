"""Writes docs/hooks.md from the hook specifications: `python docs/hook_reference.py`."""

import inspect
import textwrap
from pathlib import Path

from ddpkit.plugins import hookspecs
from ddpkit.plugins.hookspecs import FAMILY_HOOKS, HOOKS, RUN_HOOKS, Component

HERE = Path(__file__).parent
INTRODUCTION = """\
# The hooks

Generated from `ddpkit/plugins/hookspecs.py` by `python docs/hook_reference.py`. How to use them: [plugins.md](plugins.md).

A hook of a component's kind takes no arguments and yields `Component` records, which hold strings: nothing heavy is imported
to list, describe or check a component. Its target is called with the keys of its TOML table, and with those of the run-time
values below that its signature names.
"""


def reference() -> str:
    """The whole page."""
    kinds = "".join(section(hook, f"`{hook}`: {kind}") for kind, hook in HOOKS.items())
    families = "".join(section(hook, f"`{hook}`") for hook in FAMILY_HOOKS)
    run = "".join(section(hook, f"`{hook}`") for hook in RUN_HOOKS)
    return f"{INTRODUCTION}\n{component()}{kinds}\n# Open families\n{families}\n# Run hooks\n{run}"


def component() -> str:
    """The record."""
    fields = ", ".join(str(each) for each in inspect.signature(Component).parameters.values())
    return f"## `Component`\n\n```python\nComponent({fields})\n```\n\n{inspect.cleandoc(Component.__doc__ or '')}\n"


def section(hook: str, title: str) -> str:
    """One hook."""
    function = getattr(hookspecs, hook)
    names = list(inspect.signature(function).parameters)
    takes = f"Arguments: {', '.join(f'`{name}`' for name in names)}.\n\n" if names else ""
    text, _, example = inspect.cleandoc(function.__doc__ or "").partition("\n\nExample:\n")
    return f"\n## {title}\n\n{takes}{text}\n\n```python\n{textwrap.dedent(example)}\n```\n"


if __name__ == "__main__":
    (HERE / "hooks.md").write_text(reference(), encoding="utf-8")
