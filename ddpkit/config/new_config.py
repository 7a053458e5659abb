"""Text of a new config, from templates with `$name` for values and `English | Chinese` for comments."""

import re
from collections.abc import Callable, Mapping
from string import Template
from typing import Any, Literal

from ddpkit.config.toml import format_inline
from ddpkit.plugins.starter import Starter

Language = Literal["en", "zh"]
SEPARATOR = " | "
"""Text between English and Chinese in a line."""
GAP = "  # "
"""Text between the value and the comment of a line."""
COLUMN = 35
"""Column of the comments after values, as in the shipped configs."""
EMPTY_TABLE = re.compile(r"^\[[^\[\]]+\]\n(?=\n|\Z)\n?", re.MULTILINE)
"""Header of a table of which all lines are left out."""
HEADER = """\
#:schema ./ddpkit.schema.json
# Written by `ddpkit init`. docs/config.md lists all keys. | 由 `ddpkit init` 生成。所有键见 docs/config.md。
# Editors complete keys and names after this command: | 执行以下命令后，编辑器可自动补全键和名称：
#
#     ddpkit schema > ddpkit.schema.json

output_dir = "./runs"  # all files of a run are in runs/<task>/<run_id>/ | 每次运行的所有文件位于 runs/<task>/<run_id>/
task = $task  # name of the experiment | 实验名称
device = "auto"  # CUDA if every rank has its own GPU, else the CPU | 每个进程都有独立 GPU 时用 CUDA，否则用 CPU
seed = 42  # random seed; the same seed gives the same run | 随机种子；种子相同则结果相同
"""


def new_config(starter: Starter, folder: str, language: Language) -> str:
    """Return the TOML for data in a folder of this name, with comments in one language and without empty tables."""
    values = {**starter.values, "task": safe_name(folder, re.ASCII) or "data"}
    return EMPTY_TABLE.sub("", fill(HEADER + starter.config, values, language, format_inline))


def safe_name(name: str, flags: int = 0) -> str:
    """Return a name of letters, digits, `.`, `_` and `-` only; empty if the given one has no letter or digit.

    `flags`: `re.ASCII` allows only English letters, as keys such as `task` require.
    """
    return re.sub(r"[^\w.-]+", "_", name, flags=flags).strip("._-")


def fill(template: str, values: Mapping[str, Any], language: Language, write: Callable[[Any], str] = str) -> str:
    """Return a template in one language, with each `$name` replaced by its value; lines with a value None are left out.

    `write` converts a value to text. Raises KeyError for a name without a value.
    """
    lines = [choose_language(line, language) for line in template.splitlines()]
    texts = {name: write(value) for name, value in values.items() if value is not None}
    kept = [line for line in lines if all(values[name] is not None for name in Template(line).get_identifiers())]
    return "".join(fill_line(line, texts) + "\n" for line in kept)


def choose_language(line: str, language: Language) -> str:
    """Return a line with only one of its two languages. The text begins behind the indentation, or behind the last `# `."""
    english, separator, chinese = line.partition(SEPARATOR)
    if not separator or language == "en":
        return english
    start = english.rfind("# ") + 2 if "# " in english else len(english) - len(english.lstrip())
    return english[:start] + chinese


def fill_line(line: str, texts: Mapping[str, str]) -> str:
    """Return a line with its values, and with its comment in the column of comments."""
    code, gap, comment = (Template(part).substitute(texts) for part in line.partition(GAP))
    return f"{code:<{COLUMN - 1}} # {comment}" if gap else code
