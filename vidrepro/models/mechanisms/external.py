"""Mechanisms outside the package, named ``my_package.my_module:MyMechanism``.

Such a class is an `nn.Module`, called as ``MyMechanism(channels, frames, **options)``, from ``(N*T, C, H, W)`` to the
same shape. Its keyword arguments are its options; a class attribute ``position`` says where in a block it goes
(``before`` unless it does).
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from vidrepro.errors import ModelError
from vidrepro.files import file_digest, fingerprint
from vidrepro.mechanism_spec import EXTERNAL_FORM
from vidrepro.models.declared_options import POSITIONS, Option, argument_of_ones_own, choice
from vidrepro.models.mechanisms.external_faults import OwnCodeError, definition, remember_files, told_as_theirs
from vidrepro.models.mechanisms.external_sources import source_files

_FORM = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


def load_class(name: str) -> type[nn.Module]:
    """Import a mechanism's class; the working directory is searched too, last.

    Raises:
        ModelError: for a name of another form, a module that cannot be imported, or something in it that is no
            `nn.Module` class.
    """
    match = _FORM.fullmatch(name)
    if match is None:
        raise ModelError(f"'{name}' is not understood as a mechanism of your own", given=name, allowed=EXTERNAL_FORM)
    module_name, class_name = match.groups()
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()  # the file may have been written a moment ago
    with told_as_theirs(
        f"the module '{module_name}' of mechanism '{name}' cannot be imported",
        allowed="a module that Python finds from here, or installed",
        hint=f"in its folder, try: python -c 'import {module_name}'",
    ):
        module = importlib.import_module(module_name)
        found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        classes = [
            key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)
        ]
        raise ModelError(
            f"'{class_name}' in module '{module_name}' is no nn.Module class",
            given=repr(found),
            allowed=classes or "a class derived from torch.nn.Module",
        )
    remember_files(name, list(_sources(found).values()))
    return found


def options_of(name: str) -> dict[str, Option]:
    """The options of an external mechanism: its keyword arguments with a default, and ``position``.

    Raises:
        ModelError: see `load_class`; also for a ``position`` nobody knows.
    """
    kind = load_class(name)
    position = getattr(kind, "position", "before")
    declared = choice("before", POSITIONS, "where in a block of the backbone")
    if not declared.accepts(position):
        raise ModelError(f"the position of mechanism '{name}' is not known", given=repr(position), allowed=POSITIONS)
    with told_as_theirs(f"the options of mechanism '{name}' cannot be read", kind=kind):
        parameters = list(inspect.signature(kind).parameters.values())[2:]  # after channels and frames
    options = {
        parameter.name: argument_of_ones_own(parameter.default, parameter.annotation)
        for parameter in parameters
        if parameter.kind is not inspect.Parameter.VAR_POSITIONAL
        and parameter.kind is not inspect.Parameter.VAR_KEYWORD
        and parameter.default is not inspect.Parameter.empty
    }
    return {**options, "position": choice(position, POSITIONS, "where in a block of the backbone")}


def make(name: str, channels: int, frames: int, options: Mapping[str, Any]) -> nn.Module:
    """One module of an external class.

    Raises:
        ModelError: if its constructor fails.
    """
    kind = load_class(name)
    with told_as_theirs(
        f"mechanism '{name}' cannot be made for {channels} channels and {frames} frames",
        allowed=f"{kind.__name__}(channels, frames, **options)",
        kind=kind,
    ):
        module = kind(channels, frames, **options)
        module.train()  # fails without Module.__init__, which a constructor has to call
        lazy = [key for key, parameter in module.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise OwnCodeError(
            f"mechanism '{name}' leaves shapes to its first input, but its parameters are trained from the start",
            given=lazy,
            allowed="layers that are told their channels",
            where=definition(kind),
        )
    return module


def class_digest(name: str) -> str:
    """What identifies the code of an external mechanism: SHA-256 of its class's source file, or, where that imports
    others from its own folder tree (`source_files`), over the digests of all of them.

    Raises:
        ModelError: see `load_class`; also where there is no source file.
    """
    files = {path: file_digest(file) for path, file in files_of(name).items()}
    return next(iter(files.values())) if len(files) == 1 else fingerprint(files)


def is_source(name: str, digest: str) -> bool:
    """Whether a digest that a run recorded is of the code as it is now; older runs recorded the class's file alone.

    Raises:
        ModelError: see `class_digest`.
    """
    return digest in (class_digest(name), file_digest(next(iter(files_of(name).values()))))


def files_of(name: str) -> dict[str, Path]:
    """The files an external mechanism's code stands in, its class's first; see `source_files`.

    Raises:
        ModelError: see `load_class`; also where there is no source file.
    """
    kind = load_class(name)
    files = _sources(kind)
    if not files:
        raise ModelError(f"the source of mechanism '{name}' is not to be found", given=kind, allowed="a .py file")
    return files


def _sources(kind: type[nn.Module]) -> dict[str, Path]:
    try:
        source = inspect.getsourcefile(kind)
    except (TypeError, OSError):
        source = None
    return source_files(kind.__module__, Path(source).resolve()) if source and Path(source).is_file() else {}
