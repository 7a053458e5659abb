"""Write docs/hooks.md from the hook specifications. Run it with `python docs/hook_reference.py`."""

import inspect
import textwrap
from pathlib import Path

from ddpkit.plugins import hookspecs
from ddpkit.plugins.component import Component
from ddpkit.plugins.hookspecs import FAMILY_HOOKS, HOOKS, RUN_HOOKS

HERE = Path(__file__).parent
INTRODUCTION = """\
# Hooks for plugins

This page is generated from `ddpkit/plugins/hookspecs.py` by `python docs/hook_reference.py`. [plugins.md](plugins.md) shows how
to write a plugin with these hooks.

There is one hook for each kind of component. It has no arguments and yields `Component` objects. A component contains the import
path of its *target* as a string, so that ddpkit can list, describe and check components without importing heavy libraries. The
target is the class or function that ddpkit calls. Its arguments are the keys of its TOML table, and those *run-time values* that
are parameters of its signature. The section of each hook lists the run-time values, and describes what the target must return.
"""

RUN_HOOKS_TEXT = """\
Run hooks are called at events of a run, such as its start and the end of each step. They are called only for the plugins in
`[plugins] enable` and for the local files in `[plugins] files`.

Further parameters of a run hook are set in the table `[plugins.config.NAME]`, where `NAME` is a name of the plugin. The hooks of
a plugin share one table; each gets the parameters that its own signature names. Type hints are checked, unknown keys are errors,
and a parameter without a default is required. Write parameters after `*`:

```python
@hookimpl
def ddpkit_step_end(run, epoch, step, *, every: int = 100):
    if step % every == 0:
        watchdog.reset()
```

```toml
[plugins.config.my_plugin]
every = 50
```

An exception in a run hook ends the run.
"""


def reference() -> str:
    """Return the text of the page."""
    kinds = "".join(section(hook, f"`{hook}`: {kind}") for kind, hook in HOOKS.items())
    families = "".join(section(hook, f"`{hook}`") for hook in FAMILY_HOOKS)
    run = "".join(section(hook, f"`{hook}`") for hook in RUN_HOOKS)
    undeclared = f"# Components that are not declared\n{families}"
    return f"{INTRODUCTION}\n{component()}{kinds}\n{undeclared}\n# Run hooks\n\n{RUN_HOOKS_TEXT}{run}"


def component() -> str:
    """Return the section about the class `Component`."""
    fields = ", ".join(str(each) for each in inspect.signature(Component).parameters.values())
    return f"## `Component`\n\n```python\nComponent({fields})\n```\n\n{inspect.cleandoc(Component.__doc__ or '')}\n"


def section(hook: str, title: str) -> str:
    """Return the section about one hook."""
    function = getattr(hookspecs, hook)
    names = list(inspect.signature(function).parameters)
    takes = f"Arguments: {', '.join(f'`{name}`' for name in names)}.\n\n" if names else ""
    text, _, example = inspect.cleandoc(function.__doc__ or "").partition("\n\nExample:\n")
    return f"\n## {title}\n\n{takes}{text}\n\n```python\n{textwrap.dedent(example)}\n```\n"


if __name__ == "__main__":
    (HERE / "hooks.md").write_text(reference(), encoding="utf-8")
