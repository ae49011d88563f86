"""The rooms of the package and the arrows between them, as docs/architecture.md draws them, read off the imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "vidrepro"

# An arrow goes from a room to a later line. Within a line there is none but those of BESIDE.
LEVELS = [
    {"__main__"},
    {"cli"},
    {"report", "explain", "ablation", "diagnosis"},
    {"training", "evaluation", "cost"},
    {"runs", "experiments"},
    {"models", "data"},
    {"config"},
    {"clips_config", "mechanism_spec", "compositions", "devices", "finite", "locks", "pictures", "surroundings"},
    {"files", "terminal", "values"},
    {"errors"},
]
BESIDE = {("explain", "report"), ("training", "evaluation"), ("mechanism_spec", "compositions")}
NEVER = {("experiments", "models"), ("experiments", "data")}
NAMES = "vidrepro.data.known"  # imports nothing but errors, so that every room may know the datasets' names

HEAVY = {"torch", "torchvision", "av", "fvcore", "matplotlib", "sklearn", "captum", "scipy", "pandas"}
TENSORS = {"torch", "torchvision", "fvcore", "captum"}
DOCUMENTED = {"_exit", "_replace", "_asdict"}  # of os and of named tuples: public in spite of their names

# What stands against a rule today, with the reason. This may only shrink: what is no longer needed is refused.
OPTIONS = "which options a mechanism has is known only by its class, beside which they are declared"
DISPATCH = "torch documents TorchDispatchMode and pytree, and has them nowhere else"
EXCEPTIONS: dict[str, dict[str, str]] = {
    "arrow": {"experiments/overrides.py → models": OPTIONS},
    "tensors": {
        "report/describe.py → vidrepro.models.backbones": OPTIONS,
        "report/describe.py → vidrepro.models.mechanisms": OPTIONS,
    },
    "start": {},
    "private": {
        "cost/torch_counter.py: torch.utils._python_dispatch": DISPATCH,
        "cost/torch_counter.py: torch.utils._pytree": DISPATCH,
        "cost/shapes_only.py: torch.utils._python_dispatch": DISPATCH,
        "cost/shapes_only.py: torch.ops.aten._convolution": "the name of the operator that traces record",
    },
    "word": {},
}


class Import(NamedTuple):
    """One imported module; ``when``: ``start`` (with the file), ``call`` (in a function), ``types`` (never run)."""

    target: str
    when: str


def file_of(module: str) -> str:
    return MODULES[module].relative_to(PACKAGE).as_posix()


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def _walk(node: ast.AST, when: str) -> Iterator[tuple[ast.AST, str]]:
    for child in ast.iter_child_nodes(node):
        yield child, when
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _walk(child, "call")
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _walk(child, "types")
        else:
            yield from _walk(child, when)


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    found = []
    for node, when in _walk(tree_of(module), "start"):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, when) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file_of(module)}:{node.lineno} imports by a relative name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [Import(name if name in MODULES else node.module, when) for name in names]
    return tuple(found)


def room_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def hold(rule: str, broken: set[str]) -> None:
    """Compare what breaks a rule with what is known to."""
    known = set(EXCEPTIONS[rule])
    assert not broken - known, f"against the architecture: {sorted(broken - known)}"
    assert not known - broken, f"no longer an exception, take it off the list: {sorted(known - broken)}"


def test_every_room_has_its_place() -> None:
    assert {room_of(module) for module in MODULES} - {"__init__"} == set().union(*LEVELS)


def test_arrows_go_down() -> None:
    level = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
    broken = set()
    for module in MODULES:
        for target in {one.target for one in imports_of(module)} & MODULES.keys() - {"vidrepro", NAMES}:
            arrow = (room_of(module), room_of(target))
            down = level.get(arrow[0], 0) < level[arrow[1]] and arrow not in NEVER
            if arrow[0] != arrow[1] and not down and arrow not in BESIDE:
                broken.add(f"{file_of(module)} → {arrow[1]}")
    hold("arrow", broken)
    assert {one.target for one in imports_of(NAMES)} & MODULES.keys() == {"vidrepro.errors"}


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {module: {one.target for one in imports_of(module)} & MODULES.keys() for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(file_of(module) for module in reversed(error.args[1])))


@cache
def loaded_with(module: str) -> frozenset[str]:
    """Other packages that are loaded as soon as a module is: by itself, its packages, or what these import."""
    seen, todo, others = set(), [module], set()
    while todo:
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        if one not in MODULES:
            others.add(one.split(".")[0])
            continue
        todo += [".".join(one.split(".")[:depth]) for depth in range(1, one.count(".") + 1)]
        todo += [found.target for found in imports_of(one) if found.when == "start"]
    return frozenset(others)


def test_reports_read_files_and_no_tensors() -> None:
    broken = set()
    for module in MODULES:
        if room_of(module) == "report":
            for one in imports_of(module):
                if one.when != "types" and loaded_with(one.target) & TENSORS:
                    broken.add(f"{file_of(module)} → {one.target}")
    hold("tensors", broken)


def test_commands_start_without_what_is_heavy() -> None:
    broken = {
        f"{file_of(module)} → {name}"
        for module in MODULES
        if room_of(module) in ("cli", "__main__")
        for name in loaded_with(module) & HEAVY
    }
    hold("start", broken)


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def up_to_private(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[: next(index for index, part in enumerate(parts) if is_private(part)) + 1])


def test_nobody_uses_another_modules_private_names() -> None:
    broken = set()
    for module in MODULES:
        modules: dict[str, str] = {}  # a name in the file → the module it stands for
        used: list[str] = []
        for node, _ in _walk(tree_of(module), "start"):
            if isinstance(node, ast.Import):
                modules |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
                used += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                modules |= {alias.asname or alias.name: name for alias, name in zip(node.names, names, strict=True)}
                used += names
            elif isinstance(node, ast.Attribute):
                start, _, rest = ast.unparse(node).partition(".")
                used += [f"{modules[start]}.{rest}"] if start in modules and re.fullmatch(r"[\w.]+", rest) else []
        private = {up_to_private(name) for name in used if is_private(name)}
        broken |= {f"{file_of(module)}: {one}" for one in private if one.rsplit(".", 1)[-1] not in DOCUMENTED}
    hold("private", broken)


def test_no_addresses_and_no_compiled_loops() -> None:
    word = re.compile(r"data_ptr|torch\._C\b|\bnumba\b|\bllvmlite\b")
    texts = {file_of(module): path.read_text(encoding="utf-8") for module, path in MODULES.items()}
    hold("word", {name for name, text in texts.items() if word.search(text)})
