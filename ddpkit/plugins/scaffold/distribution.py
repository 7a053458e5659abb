"""Files of a new plugin, from the templates in the folder `templates`.

The templates have the paths of the files; `package` stands for the name of the package. The implementation of a kind is the
Python file of its name: it is also checked as a part of ddpkit, and contains nothing to fill in.
"""

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

import jinja2
from packaging.version import Version

import ddpkit
from ddpkit.plugins.hookspecs import API_VERSION
from ddpkit.plugins.scaffold.name import package_name


def render_distribution(name: str, kinds: Collection[str]) -> dict[str, str]:
    """Return the files of a new distribution with one component of each kind: path -> text."""
    templates = jinja2.Environment(  # noqa: S701 - the files are not HTML
        loader=jinja2.PackageLoader("ddpkit.plugins.scaffold"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    package = package_name(name)
    values = {"name": name, "package": package, "kinds": kinds, "requirement": requirement(), "api": "{}.{}".format(*API_VERSION)}
    chosen = templates.list_templates(filter_func=lambda template: is_chosen(PurePosixPath(template), kinds))
    return {
        template.removesuffix(".jinja").replace("src/package", f"src/{package}"): templates.get_template(template).render(values)
        for template in chosen
    }


def is_chosen(template: PurePosixPath, kinds: Collection[str]) -> bool:
    """Return whether a file is a template for these kinds. Installers also put compiled files into the folder."""
    return template.suffix == ".jinja" or (template.suffix == ".py" and template.stem in kinds)


def requirement() -> str:
    """Return the versions of ddpkit whose public names do not change: those with the current minor version."""
    major, minor = Version(ddpkit.__version__).release[:2]
    return f"ddpkit>={major}.{minor},<{major}.{minor + 1}"


def write_distribution(folder: Path, files: Mapping[str, str]) -> None:
    """Write all files into a new folder, or nothing. Raises OSError if the folder cannot be written, or exists."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        staged = Path(scratch) / folder.name
        for name, text in files.items():
            file = staged / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        staged.rename(folder)
