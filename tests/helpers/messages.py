"""Write `tests/messages.txt`: every text in the packages that a user can meet. `python -m tests.helpers.messages` updates it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SNAPSHOT = ROOT / "tests/messages.txt"
PACKAGES = ("ddpkit", "ddpkit_plugins")
CHINESE = re.compile("[\u4e00-\u9fff]")
TWO_WORDS = re.compile(r"[A-Za-z0][,;:]? [A-Za-z]|[A-Za-z][,;:]? 0")
"""Adjacent words; a value counts as one."""


def snapshot() -> str:
    """Content of the file: for each module its texts in alphabetical order, so that moved code changes nothing."""
    modules = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    texts = {module: sorted(set(texts_of(module))) for module in modules}
    return "\n".join(f"{module.relative_to(ROOT)}\n{lines(found)}" for module, found in texts.items() if found)


def lines(texts: list[str]) -> str:
    return "".join("    " + text.replace("\n", "\\n") + "\n" for text in texts)


def texts_of(module: Path) -> Iterator[str]:
    """String literals of at least two words, docstrings aside. In an f-string each value stands in braces."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    inner = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.Expr) for part in ast.iter_child_nodes(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner
        ):
            text = template(node)
            if is_text(text):
                yield text


def template(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return node.value
    return "".join(part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}" for part in node.values)


def is_text(text: str) -> bool:
    return bool(CHINESE.search(text) or TWO_WORDS.search(re.sub(r"\{.*?\}", "0", text)))


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot(), encoding="utf-8")
