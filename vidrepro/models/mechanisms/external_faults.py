"""Faults in a user's own class are told as theirs: class, file and line, shapes in and out."""

from __future__ import annotations

import contextlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import vidrepro
from vidrepro.errors import ModelError, VidreproError

_HINT = "mend the class, and give the same command again"
_INSTALLED = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]
_NOT_THEIRS = [Path(vidrepro.__file__).resolve().parent, *_INSTALLED]
_known_files: dict[Path, str] = {}  # file: the mechanism whose code stands in it, of those loaded so far


class OwnCodeError(ModelError):
    """A fault in the code of a user's own mechanism."""


def remember_files(name: str, files: list[Path]) -> None:
    """Note which files a mechanism's code stands in, to find it in tracebacks."""
    _known_files.update(dict.fromkeys(files, name))


@contextlib.contextmanager
def told_as_theirs(
    problem: str, *, allowed: str | None = None, hint: str = _HINT, kind: type | None = None
) -> Iterator[None]:
    """Around code of a user's own: what it prints goes to stderr, what it raises is a fault of it.

    Args:
        problem: what fails.
        allowed, hint: of the error.
        kind: the class, where it is known: its definition is told where no line of theirs is at fault.

    Raises:
        OwnCodeError: for whatever is raised, an exit included; with their file and line.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (VidreproError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # whatever their code raises
        given = f"{type(error).__name__}: {error}"
        where = _place(error) or (definition(kind) if kind else None)
        raise OwnCodeError(problem, given=given, allowed=allowed, hint=hint, where=where) from error


def call(name: str, module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)`` of a user's own class, which has to return what a mechanism returns.

    Args:
        name: of the mechanism.
        module: of a user's own class.
        x: its input ``(N*T, C, H, W)``.

    Raises:
        OwnCodeError: if it raises, returns no map like `x`, or changes `x`, which the block still needs.
    """
    if torch.compiler.is_compiling():
        return module(x)
    kind = type(module)
    changes = None if x.is_inference() else x._version
    with told_as_theirs(f"mechanism '{name}' failed on an input of shape {tuple(x.shape)}", kind=kind):
        out = module(x)
    fault = _fault_of(out, x)
    if fault:
        raise OwnCodeError(
            f"mechanism '{name}' does not return what it has to",
            given=f"{_described(x)} in, {fault} out",
            allowed="one tensor like the input: the same shape (N*T, C, H, W), type and device",
            hint=_HINT,
            where=definition(kind, "forward"),
        )
    if changes is not None and x._version != changes:
        raise OwnCodeError(
            f"mechanism '{name}' changes its input in place, which the block still needs for its skip path",
            given=f"{_described(x)} in",
            hint="make a new tensor: x = x + y in place of x += y, no inplace=True on the input",
            where=definition(kind, "forward"),
        )
    return out


def fault_in_own_code(error: BaseException) -> OwnCodeError | None:
    """An error that came out of a loaded class's code elsewhere than in `call`, as in a backward pass; else None."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if Path(frame.filename).resolve() in _known_files]
    if not theirs or isinstance(error, MemoryError | torch.OutOfMemoryError):
        return None
    frame = theirs[-1]
    return OwnCodeError(
        f"mechanism '{_known_files[Path(frame.filename).resolve()]}' failed",
        given=f"{type(error).__name__}: {error}",
        hint=_HINT,
        where=(frame.filename, frame.lineno or 1),
    )


def definition(kind: type, method: str | None = None) -> tuple[str, int] | None:
    """File and line of a class, or of a method of it; None where there is no source."""
    try:
        there: Any = getattr(kind, method) if method else kind
        return inspect.getsourcefile(there) or "", inspect.getsourcelines(there)[1]
    except (OSError, TypeError, AttributeError):
        return None


def _fault_of(out: object, x: Tensor) -> str | None:
    """What is wrong with a mechanism's output, described; None if it is like the input."""
    if not isinstance(out, Tensor):
        return "None" if out is None else f"a {type(out).__name__}"
    if out.is_nested or out.layout != torch.strided:  # a nested one has no shape
        return "a nested or sparse tensor"
    types = {x.dtype}
    if torch.is_autocast_enabled(x.device.type):
        types |= {torch.float32, torch.get_autocast_dtype(x.device.type)}
    alike = tuple(out.shape) == tuple(x.shape) and out.dtype in types and out.device == x.device
    return None if alike else _described(out)


def _described(x: Tensor) -> str:
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')} on {x.device}"


def _place(error: BaseException) -> tuple[str, int] | None:
    """Their file and line that an error came from."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno or 1
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if path in _known_files or (path.is_file() and not any(folder in path.parents for folder in _NOT_THEIRS)):
            return frame.filename, frame.lineno or 1
    return None
