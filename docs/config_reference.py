"""Writes docs/config.md from the classes of the format: `python docs/config_reference.py`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import attrs

from ddpkit.config import schema, toml
from ddpkit.config.converter import describe_type, is_union

HERE = Path(__file__).parent
INTRODUCTION = """\
# The config file, key by key

Generated from `ddpkit/config/schema.py` by `python docs/config_reference.py`. Required keys have no default. What an optional
key does when it is left out, its default says, or its text.

The keys of a component (`[model.config]`, `[train.optimizer]`, ...) are its plugin's: `ddpkit explain x.toml` shows those of
a file with their defaults, `ddpkit schema > ddpkit.schema.json` gives them to an editor (put `#:schema ./ddpkit.schema.json`
into the first line of the TOML file).

由 `ddpkit/config/schema.py` 生成。没有默认值的键必须给出。组件自己的键由其插件定义。
"""


def reference() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(f"\n{section}" for section in sections(schema.Run, "", is_list=False))


def sections(kind: type, path: str, *, is_list: bool) -> Iterator[str]:
    """A table, then the tables inside it."""
    english, _, chinese = (kind.__doc__ or "").strip().partition("\n")
    title = f"`[[{path}]]`" if is_list else f"`[{path}]`" if path else "Top level"
    fields = attrs.fields(kind)
    inner = {field.name: table_in(field.type) for field in fields}
    rows = "".join(row(field) for field in fields if inner[field.name] is None)
    head = "| key | type | default | meaning | 含义 |\n|---|---|---|---|---|\n"
    yield f"## {title}\n\n{english}\n{chinese.strip()}\n\n{head}{rows}"
    for name, below in inner.items():
        if below is not None:
            yield from sections(below[0], f"{path}.{name}".lstrip("."), is_list=below[1])


def table_in(kind: Any) -> tuple[type, bool] | None:
    """The attrs class that a key's table is, and whether it is a list of them."""
    arms = get_args(kind) if is_union(kind) else [kind]
    for arm in arms:
        items = [item for item in get_args(arm) if attrs.has(item)]
        if attrs.has(arm) or items:
            return (items[0], True) if items else (arm, False)
    return None


def row(field: "attrs.Attribute[Any]") -> str:
    """One key."""
    english, chinese = field.metadata["help"]
    is_rest = field.metadata.get("rest")
    name = "*(all other keys)*" if is_rest else f"`{field.name}`"
    limits = f", {field.validator.words}" if field.validator else ""  # type: ignore[attr-defined]
    unit = f" ({field.metadata['unit']})" if field.metadata["unit"] else ""
    kind = (describe_type(field.type) + limits + unit).replace("|", "\\|")
    return f"| {name} | {kind} | {default(field)} | {english} | {chinese} |\n"


def default(field: "attrs.Attribute[Any]") -> str:
    """As TOML has it."""
    if field.default is attrs.NOTHING:
        return "**required**"
    value = field.default.factory() if hasattr(field.default, "factory") else field.default
    return "" if value is None or field.metadata.get("rest") else f"`{toml.format_inline(value)}`"


if __name__ == "__main__":
    (HERE / "config.md").write_text(reference(), encoding="utf-8")
