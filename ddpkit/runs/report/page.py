"""Pages in one HTML file: templates, style and scripts are embedded, and the page loads nothing."""

import functools
from importlib import resources
from typing import Any

import attrs
import jinja2
from markupsafe import Markup

import ddpkit
from ddpkit.runs.screen.text_table import count, format_value
from ddpkit.terminal import escape

PACKAGE = "ddpkit.runs.report"


def render(template: str, **values: Any) -> str:
    """Return a page from a template in the folder `templates`; all texts in the values are escaped."""
    return environment().get_template(template).render(**values)


@functools.cache
def environment() -> jinja2.Environment:
    """Return the templates, with the functions and filters that they use."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader(PACKAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=escape_unsafe,
    )
    templates.globals |= {"asset": asset, "version": ddpkit.__version__}
    templates.filters |= {"show": show, "count": count, "record": attrs.asdict}
    templates.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return templates


def escape_unsafe(value: Any) -> Any:
    """Return a text with control characters as escape sequences, because they could reverse or hide other text."""
    return escape(value, keep="\n\t") if type(value) is str else value


def asset(name: str) -> Markup:
    """Return a file of the package as text for a `<style>` or `<script>` element."""
    return Markup(resources.files(PACKAGE).joinpath(name).read_text(encoding="utf-8"))  # noqa: S704 - a file of this package


def show(value: Any) -> Any:
    """Return a number as readers want it: `1,234`, `0.9750`; `-` for None."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return format_value(value) if isinstance(value, float) else value
