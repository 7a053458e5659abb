"""Write docs/config.md from the classes of the TOML format. Run it with `python docs/config_reference.py`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import attrs

from ddpkit.config import schema, toml
from ddpkit.config.converter import describe_type, find_named_table, is_union

HERE = Path(__file__).parent
INTRODUCTION = """\
# Keys of the config file

This page is generated from `ddpkit/config/schema.py` by `python docs/config_reference.py`. A key marked as **required** has no
default. If an optional key is omitted, its default applies. If the default is empty, the text of the key describes the effect.

Each component has its own keys (in `[model.config]`, `[train.optimizer]`, ...), which its plugin defines. `ddpkit explain x.toml`
shows them for a file, with their defaults. `ddpkit schema > ddpkit.schema.json` writes a JSON Schema with these keys for your
editor; to use it, write `#:schema ./ddpkit.schema.json` in the first line of the TOML file.

TOML has no null. For a parameter of a component with the type `X | None`, the text `"none"` is None, as in
`max_samples = "none"`. `ddpkit describe KIND NAME` shows which parameters accept it: their types end with `or 'none'`. Keys on
this page do not.

本页由 `python docs/config_reference.py` 根据 `ddpkit/config/schema.py` 生成。标有 **required** 的键没有默认值，必须设置。
可选键不写时使用默认值；默认值为空时，见该键的说明。

各组件自己的键由其插件定义。`ddpkit explain x.toml` 显示某个文件中的这些键及其默认值。
`ddpkit schema > ddpkit.schema.json` 生成供编辑器使用的 JSON Schema。使用方法：在 TOML 文件的第一行写
`#:schema ./ddpkit.schema.json`。

TOML 没有空值。对类型为 `X | None` 的组件参数，文本 `"none"` 表示 None，例如 `max_samples = "none"`。
`ddpkit describe KIND NAME` 显示哪些参数接受该值：其类型以 `or 'none'` 结尾。本页的键不接受。
"""


def reference() -> str:
    """Return the text of the page."""
    return INTRODUCTION + "".join(f"\n{section}" for section in sections(schema.Run, "", is_list=False))


def sections(kind: type, path: str, *, is_list: bool) -> Iterator[str]:
    """Yield the section of a table, then those of the tables inside it."""
    english, _, chinese = (kind.__doc__ or "").strip().partition("\n")
    title = f"`[[{path}]]`" if is_list else f"`[{path}]`" if path else "Top level"
    fields = attrs.fields(kind)
    inner = {field.name: tables_in(field.type) for field in fields}
    rows = "".join(row(field) for field in fields if not inner[field.name])
    head = "| key | type | default | meaning | 含义 |\n|---|---|---|---|---|\n"
    yield f"## {title}\n\n{english}\n{chinese.strip()}\n\n{head}{rows}"
    for field in fields:
        place = f"{path}.{field.name}".lstrip(".") + ".NAME" * bool(find_named_table(field.type))
        for table, is_array in inner[field.name]:
            yield from sections(table, place, is_list=is_array)


def tables_in(kind: Any) -> list[tuple[type, bool]]:
    """Return the attrs classes of a key whose value is a table, and whether it is an array of tables; [] for other keys."""
    if named := find_named_table(kind):
        return [(named, False)]
    arms = get_args(kind) if is_union(kind) else [kind]
    arrays = [(item, True) for arm in arms for item in get_args(arm) if attrs.has(item)]
    return [*((arm, False) for arm in arms if attrs.has(arm)), *arrays]


def row(field: "attrs.Attribute[Any]") -> str:
    """Return the row of one key in the Markdown table of its section."""
    english, chinese = field.metadata["help"]
    is_rest = field.metadata.get("rest")
    name = "*(all other keys)*" if is_rest else f"`{field.name}`"
    limits = f", {field.validator.words}" if field.validator else ""  # type: ignore[attr-defined]
    unit = f" ({field.metadata['unit']})" if field.metadata["unit"] else ""
    kind = (describe_type(field.type) + limits + unit).replace("|", "\\|")
    return f"| {name} | {kind} | {default(field)} | {english} | {chinese} |\n"


def default(field: "attrs.Attribute[Any]") -> str:
    """Return the default of a key in TOML syntax, as Markdown."""
    if field.default is attrs.NOTHING:
        return "**required**"
    value = field.default.factory() if hasattr(field.default, "factory") else field.default
    return "" if value is None or field.metadata.get("rest") else f"`{toml.format_inline(value)}`"


if __name__ == "__main__":
    (HERE / "config.md").write_text(reference(), encoding="utf-8")
