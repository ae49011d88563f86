"""Weight files of any usual kind as tensors by name: torch's formats, safetensors, the entries training code nests.

A file of torch's is only ever read with ``weights_only=True``: it cannot execute anything.
"""

from __future__ import annotations

import argparse
import pathlib
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidrepro.errors import CheckpointError
from vidrepro.files import unexpanded
from vidrepro.models.released.provenance import RECORD

# Where training code keeps a network, the first found is taken; averages of weights only where there is nothing else.
ENTRIES = (
    *("state_dict", "model", "model_state", "model_state_dict", "net", "network", "module"),
    *("state_dict_ema", "model_ema", "ema", "ema_state_dict", "ema_model"),
)
_SCALAR = np.float64(0).__reduce__()[0]  # how NumPy's numbers, such as a best accuracy, are unpickled
# What training code saves beside weights and what executes nothing: numbers of NumPy's, argparse's options.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    pathlib.PosixPath,
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"},
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
_OTHER_FILES = {
    b"version https://git-lfs": ("a Git LFS pointer", "git lfs pull, or download the file itself"),
    b"<": ("a web page", "download the file itself: a browser may have to confirm it"),
    b"\x89HDF": ("an HDF5 file (Keras)", "save its weights with torch or safetensors"),
    b"\x1f\x8b": ("a gzip archive", "unpack it first"),
    b"\x93NUMPY": ("a NumPy array", "save the state dict with torch or safetensors"),
    b"{": ("JSON text", "give the file of weights itself"),
}


@dataclass(frozen=True)
class StateDict:
    """A file's tensors by name, as they stand there.

    Attributes:
        entry: where in the file they were, ``model.state_dict``; empty if the file is nothing else.
        left_out: other entries that hold weights, and what is no tensor among these.
        record: of `vidrepro import-checkpoint`, if that wrote the file.
    """

    tensors: dict[str, Tensor]
    entry: str = ""
    left_out: tuple[str, ...] = ()
    record: Mapping[str, Any] | None = None


def require_file(path: Path) -> None:
    """Refuse a path at which no file lies.

    Raises:
        CheckpointError: naming it.
    """
    if path.is_dir():
        hint = "name the file in it; a run of vidrepro is started from with --from"
        raise CheckpointError(f"the weight file '{path}' is a folder", given=path, hint=hint)
    if not path.is_file():
        hint = {"imagenet": "for ImageNet weights say --set model.weights=imagenet"}.get(str(path), "check the path")
        raise CheckpointError(f"there is no weight file '{path}'", given=path, hint=unexpanded(path) or hint)


def read_state_dict(path: Path) -> StateDict:
    """A file's state dict: the file itself, or what a training checkpoint holds under one of `ENTRIES`.

    Raises:
        CheckpointError: for a file that is missing, damaged, would execute code, or holds no state dict.
    """
    whole = content = read_checkpoint(path)
    taken: list[str] = []
    left_out: list[str] = []
    while isinstance(content, Mapping) and (found := [name for name in ENTRIES if _has_tensors(content.get(name))]):
        taken.append(found[0])
        left_out += found[1:]
        content = content[found[0]]
    tensors = _tensors(content)
    if not tensors:
        inside = ", ".join(f"{name}: {type(value).__name__}" for name, value in list(content.items())[:8]) if (
            isinstance(content, Mapping)
        ) else ""  # fmt: skip
        raise CheckpointError(
            "the file holds no state dict",
            given=f"{type(content).__name__} {inside}".strip(),
            allowed=f"tensors by name, by themselves or as an entry ({', '.join(ENTRIES)})",
            where=path,
        )
    left_out += [str(name) for name in content if name not in tensors]
    record = whole.get(RECORD) if isinstance(whole, Mapping) else None
    return StateDict(tensors, ".".join(taken), tuple(left_out), record)


def read_checkpoint(path: Path) -> Any:
    """A file's content, tensors on the CPU; read without executing anything in it.

    Raises:
        CheckpointError: if the file is missing, is no checkpoint, or holds an object that would execute code.
    """
    require_file(path)
    try:
        if _is_safetensors(path):
            return _read_safetensors(path)
        # Opened here: given a path, newer torch goes by its ending
        with path.open("rb") as file, warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # about the pickle protocol; what cannot be read is refused below
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        refused = named[1] if named else _first_import(path)
        if refused:
            raise CheckpointError(
                f"the file holds '{refused}', which would execute code when read; nothing was executed",
                allowed="tensors, numbers and texts in plain lists and dicts",
                hint="save only the state dict: torch.save(model.state_dict(), FILE)",
                where=path,
            ) from error
        raise _not_readable(path) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        first_sentence = str(error).partition(". ")[0].partition("\n")[0]
        raise _not_readable(path, first_sentence if " " in first_sentence else type(error).__name__) from error


def _is_safetensors(path: Path) -> bool:
    """By its content: eight bytes, the length of the header, and the header, JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"safetensors: {error}") from error


def _not_readable(path: Path, reason: str | None = None) -> CheckpointError:
    """The error for a file that is no checkpoint: what it is, if its first bytes tell."""
    with path.open("rb") as file:
        start = file.read(1 << 16)
    for mark, (kind, hint) in _OTHER_FILES.items():
        if start.lstrip().startswith(mark):
            if b'"weight_map"' in start:
                kind, hint = "the index of weights in several files", "merge these into one file and give that"
            return CheckpointError(f"the file is not a readable checkpoint: it is {kind}", hint=hint, where=path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist()[:100] if not name.endswith("/")]
        if any(name.endswith("/constants.pkl") for name in names):
            reason = "it is a TorchScript program, which would execute code; save its state_dict() instead"
        elif names and not any(name.endswith("data.pkl") for name in names):
            reason = f"it is an archive of {', '.join(names[:3])}{', …' if names[3:] else ''}"
    return CheckpointError(
        f"the file is not a readable checkpoint{f': {reason}' if reason else ''}",
        given=f"{path.stat().st_size:,} bytes",
        hint="it may be cut short: copy, download or make it again",
        where=path,
    )


def _tensors(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _has_tensors(content: Any) -> bool:
    """Whether an entry holds tensors, or an entry of its own that does."""
    if not isinstance(content, Mapping):
        return False
    return bool(_tensors(content)) or any(_has_tensors(content.get(name)) for name in ENTRIES)


def _first_import(path: Path) -> str | None:
    """The first object a plain pickle would import, found by reading its opcodes; None if it is no pickle."""
    texts: list[str] = []
    try:
        with path.open("rb") as file:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if opcode.name == "STACK_GLOBAL":  # module and name are the last two texts before it
                    return ".".join(texts[-2:])
                if isinstance(argument, str):
                    texts.append(argument)
    except ValueError:
        pass
    return None
