"""Mechanisms outside the package, named ``my_package.my_module:MyMechanism``.

Such a class is an `nn.Module`, called as ``MyMechanism(channels, frames, **options)``, from ``(N*T, C, H, W)`` to the
same shape. Its keyword arguments are its options; a class attribute ``position`` says where in a block it goes
(``before`` unless it does).
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from vidrepro.errors import ModelError, VidreproError
from vidrepro.models.options import POSITIONS, Option, choice

_FORM = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
FORM = "my_package.my_module:MyMechanism"


def is_external(name: object) -> bool:
    """Whether a mechanism's name points outside the package: it has a colon."""
    return isinstance(name, str) and ":" in name


def load_class(name: str) -> type[nn.Module]:
    """Import a mechanism's class; the working directory is searched too, last.

    Raises:
        ModelError: for a name of another form, a module that cannot be imported, or something in it that is no
            `nn.Module` class.
    """
    match = _FORM.fullmatch(name)
    if match is None:
        raise ModelError(f"'{name}' is not understood as a mechanism of your own", given=name, allowed=FORM)
    module_name, class_name = match.groups()
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()  # the file may have been written a moment ago
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises
        raise ModelError(
            f"the module '{module_name}' of mechanism '{name}' cannot be imported",
            given=f"{type(error).__name__}: {error}",
            allowed="a module that Python finds from here, or installed",
            hint=f"in its folder, try: python -c 'import {module_name}'",
        ) from error
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
    parameters = list(inspect.signature(kind).parameters.values())[2:]  # after channels and frames
    options = {
        parameter.name: Option(parameter.default, lambda value: True, "anything", "a keyword argument of the class")
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
    try:
        return kind(channels, frames, **options)
    except VidreproError:
        raise
    except Exception as error:  # whatever the user's constructor raises
        raise ModelError(
            f"mechanism '{name}' cannot be made for {channels} channels and {frames} frames",
            given=f"{type(error).__name__}: {error}",
            allowed=f"{kind.__name__}(channels, frames, **options)",
        ) from error


def class_digest(name: str) -> str:
    """SHA-256 of the source file that defines an external mechanism's class.

    Raises:
        ModelError: see `load_class`; also where there is no source file.
    """
    kind = load_class(name)
    try:
        source = inspect.getsourcefile(kind)
    except TypeError:
        source = None
    if source is None or not Path(source).is_file():
        raise ModelError(f"the source of mechanism '{name}' is not to be found", given=source, allowed="a .py file")
    return hashlib.sha256(Path(source).read_bytes()).hexdigest()
