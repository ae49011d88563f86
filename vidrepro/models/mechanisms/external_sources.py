"""Which files the code of a user's own mechanism stands in: its class's, and those that this imports from beside it."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path

PACKAGE = "vidrepro"  # its code is told by its version and commit


def source_files(module: str, file: Path) -> dict[str, Path]:
    """The files a class's code comes from, by their path within the folder tree.

    Read from the import statements, wherever in a file they stand. What is imported by a computed name, data files
    that are read, and installed packages are not seen.

    Args:
        module: dotted name of the module that defines the class.
        file: its source.

    Returns:
        `file` first; then what it imports, directly or not, from the folder that holds its top-level module or package
        (of an installed package: from that package alone).
    """
    parts = module.split(".")
    depth = len(parts) if file.name == "__init__.py" else len(parts) - 1
    root = file.parents[min(depth, len(file.parents) - 1)]
    only = parts[0] if _is_installed(root) else None
    found: dict[str, Path] = {}
    waiting = [(module, file)]
    while waiting:
        name, path = waiting.pop()
        inside = path.relative_to(root).as_posix()
        if inside in found:
            continue
        found[inside] = path
        for imported in _imports(name, path):
            words = imported.split(".")
            if words[0] != PACKAGE and only in (None, words[0]):
                dotted = (".".join(words[:length]) for length in range(1, len(words) + 1))
                waiting += [(one, there) for one in dotted if (there := _file_of(root, one)) is not None]
    return found


def _is_installed(folder: Path) -> bool:
    return str(folder.resolve()) in {str(Path(path).resolve()) for path in sysconfig.get_paths().values()}


def _file_of(root: Path, module: str) -> Path | None:
    """A module's file below a folder; None if there is none, or nothing stands in it."""
    path = root.joinpath(*module.split("."))
    suffixes = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES)  # in Python's order
    for file in (path / "__init__.py", *(path.with_name(path.name + suffix) for suffix in suffixes)):
        if file.is_file():
            return file if file.read_bytes().strip() else None
    return None


def _imports(module: str, file: Path) -> Iterator[str]:
    """Dotted names of what a file imports, modules and what may be one."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
