"""Vendoring of the modules that a bundle's configs need to its folder ``scripts``."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from ctan_monai import __version__
from ctan_monai.aliases import current_names
from ctan_monai.errors import ConfigError

_PACKAGE, _FOLDER = "ctan_monai", "scripts"
_DOTTED = re.compile(rf"\b{_PACKAGE}(?:\.\w+)+")
_NOTICE = (
    f"This folder holds parts of {_PACKAGE} {__version__}, under the Apache License 2.0 (LICENSE here). They "
    f"were changed: imports of {_PACKAGE} were renamed to {_FOLDER}. No code of other projects is among them.\n"
)
_IN_METADATA = {"monai", "numpy", "torch"}  # metadata.json has entries of their own for these


class Vendored(NamedTuple):
    """Files that were written.

    Args:
        configs: texts of the configs, which name ``scripts``.
        required: packages that must be installed, with versions.
        optional: packages that only some options need.
    """

    configs: dict[str, str]
    required: dict[str, str]
    optional: dict[str, str]


def vendor(configs: Mapping[str, str], folder: Path) -> Vendored:
    """Copy the modules that configs name, and those that they import, to ``<folder>/scripts``.

    Args:
        configs: their texts, by name.
        folder: of the bundle.

    Raises:
        ConfigError: a config names something that does not exist.
    """
    configs = {name: current_names(text) for name, text in configs.items()}
    targets = {found[0] for text in configs.values() for found in _DOTTED.finditer(_without_comments(text))}
    modules = _reached({module for target in sorted(targets) for module in _modules_of(target)})
    top_levels: set[str] = set()
    for module, path in modules.items():
        relative = path.relative_to(_root())
        place = folder / _FOLDER / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8")
        place.write_text(renamed(text), encoding="utf-8")
        top_levels |= {name.partition(".")[0] for name in _imports(module, path)}
        for beside in path.parent.iterdir():  # tables that the module reads
            if beside.is_file() and beside.suffix != ".py" and beside.name in text:
                (place.parent / beside.name).write_bytes(beside.read_bytes())
    _write_terms(folder / _FOLDER)
    required, optional = _packages(top_levels - {_PACKAGE})
    return Vendored({name: _DOTTED.sub(_in_scripts, text) for name, text in configs.items()}, required, optional)


def _write_terms(scripts: Path) -> None:
    """Write what the Apache License 2.0 requires: its text, and a notice of changes."""
    installed = metadata.distribution("ctan-monai")
    text = installed.read_text("licenses/LICENSE") or installed.read_text("LICENSE")
    text = text or (_root().parent / "LICENSE").read_text(encoding="utf-8")  # of a checkout
    (scripts / "LICENSE").write_text(text, encoding="utf-8")
    (scripts / "NOTICE").write_text(_NOTICE, encoding="utf-8")


def renamed(source: str) -> str:
    r"""Return a module's source with this package's name replaced wherever the name is used.

    >>> renamed("from ctan_monai.tasks import Task  # of ctan_monai\nSOFTWARE = 'ctan_monai'\n")
    "from scripts.tasks import Task  # of ctan_monai\nSOFTWARE = 'ctan_monai'\n"
    """
    lines = source.encode("utf-8").splitlines(keepends=True)
    places: set[tuple[int, int]] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            uses = _names_package(node)
        elif isinstance(node, ast.Name):
            uses = node.id == _PACKAGE
        elif isinstance(node, ast.Constant):
            uses = isinstance(node.value, str) and _is_module(node.value)
        else:
            continue
        if uses:
            line = node.lineno - 1
            places.add((line, lines[line].index(_PACKAGE.encode(), node.col_offset)))
    for line, column in sorted(places, reverse=True):
        text = lines[line]
        lines[line] = text[:column] + _FOLDER.encode() + text[column + len(_PACKAGE) :]
    return b"".join(lines).decode("utf-8")


def _names_package(node: ast.Import | ast.ImportFrom) -> bool:
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return any(name.partition(".")[0] == _PACKAGE for name in names)


def _is_module(text: str) -> bool:
    return bool(_DOTTED.fullmatch(text)) and _file_of(text) is not None


def _in_scripts(found: re.Match[str]) -> str:
    return _FOLDER + found[0].removeprefix(_PACKAGE)


def _without_comments(text: str) -> str:
    return re.sub(r"(?m)(^|\s)#.*$", "", text)


def _reached(modules: Iterable[str]) -> dict[str, Path]:
    """Return the modules that some modules import, directly or not, with their parent packages."""
    reached: dict[str, Path] = {}
    waiting = sorted(modules)
    while waiting:
        module = waiting.pop()
        path = _file_of(module)
        if module in reached or path is None:
            continue
        reached[module] = path
        waiting += [module.rpartition(".")[0]] if "." in module else []
        waiting += [name for name in _imports(module, path) if name.partition(".")[0] == _PACKAGE]
    return dict(sorted(reached.items()))


def _imports(module: str, path: Path) -> Iterator[str]:
    """List the modules that a module imports, in functions too, but not for type checkers alone."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = util.resolve_name("." * node.level + (node.module or ""), package)
            yield source
            if source.partition(".")[0] == _PACKAGE:
                for alias in node.names:
                    yield from _modules_of(f"{source}.{alias.name}")


def _modules_of(dotted: str) -> list[str]:
    """Return the module that a name stands in, and the one that it was taken from.

    Raises:
        ConfigError: there is no such name.
    """
    module, names = dotted, list[str]()
    while _file_of(module) is None:
        module, _, last = module.rpartition(".")
        names.insert(0, last)
        if not module:
            break
    try:
        value = importlib.import_module(module)
        for name in names:
            value = getattr(value, name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError("BUNDLE, configs", f"{dotted} does not exist ({error}).", "Correct the config.") from error
    origin = str(getattr(value, "__module__", module) or module)
    return [module, origin] if origin.partition(".")[0] == _PACKAGE else [module]


def _file_of(module: str) -> Path | None:
    """Return the file of a module of this package, None if there is no such module."""
    parts = module.split(".")
    if parts[0] != _PACKAGE:
        return None
    place = _root().joinpath(*parts[1:])
    candidates = (place / "__init__.py", place.with_suffix(".py") if len(parts) > 1 else place / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _root() -> Path:
    return Path(str(importlib.import_module(_PACKAGE).__file__)).parent


def _packages(top_levels: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the required and the optional packages of imported names."""
    distributions = metadata.packages_distributions()
    wanted = [
        re.split(r"[^\w.-]", entry)[0].lower()
        for entry in metadata.requires("ctan-monai") or []
        if "extra ==" not in entry
    ]
    required: dict[str, str] = {}
    optional: dict[str, str] = {}
    for name in sorted(set(top_levels) - set(sys.stdlib_module_names) - _IN_METADATA):
        for package in sorted(set(distributions.get(name, []))):
            version = metadata.version(package).split("+")[0]
            (required if package.lower() in wanted else optional)[package] = version
    return required, optional
