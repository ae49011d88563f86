"""What this installation can do, and what is known to be broken about it, each with its remedy."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vidrepro import surroundings

PACKAGES = (
    "torch",
    "torchvision",
    "av",
    "fvcore",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "matplotlib",
    "pydantic",
)
MODULES = {"scikit-learn": "sklearn"}  # where a package's module has another name
DECODERS = ("h264", "vp9", "mpeg4", "mjpeg")
ENCODERS = ("libx264",)

_WHY_REPLACED = {
    surroundings.WINDOW_BACKEND: "pictures are drawn into files, by Agg",
    **dict.fromkeys(surroundings.SIZES, "a positive whole number is needed"),
}
# variable -> what goes wrong where its folder cannot be written, and which folder that is without the variable
_CACHES = {
    "MPLCONFIGDIR": ("Matplotlib looks for fonts anew in every command that draws", "~/.cache/matplotlib"),
    "TORCH_HOME": ("downloaded weights (weights=imagenet) cannot be kept", "~/.cache/torch"),
    "TMPDIR": ("another folder takes temporary files, if there is one", "/tmp"),
}

PLAIN_INSTALL = "pip install --force-reinstall torch torchvision (both from the same index, in one command)"


@dataclass(frozen=True)
class Finding:
    """One checked thing."""

    topic: str
    name: str
    state: Literal["ok", "warning", "broken"]
    detail: str
    remedy: str | None = None


def diagnose(data_folder: Path) -> list[Finding]:
    """Check versions, devices, codecs, the environment, prepared datasets and known broken combinations.

    Args:
        data_folder: where prepared datasets lie.
    """
    surrounding = _surroundings()  # before Matplotlib is imported, which replaces MPLCONFIGDIR where it cannot write
    findings = [Finding("system", "python", "ok", f"{platform.python_version()} on {platform.platform()}")]
    findings += [_package(name) for name in PACKAGES]
    if not any(finding.state == "broken" for finding in findings if finding.name in {"torch", "torchvision"}):
        findings += _devices()
    findings += _codecs()
    findings += surrounding
    findings += _datasets(data_folder)
    free = shutil.disk_usage(_existing(data_folder)).free / 2**30
    findings.append(
        Finding("system", "disk", "ok" if free > 5 else "warning", f"{free:.0f} GiB free for {data_folder}")
    )
    return findings


def known_mismatch(torch_version: str, torchvision_version: str, error: str | None) -> Finding | None:
    """Recognise a torch and a torchvision that were not built for each other.

    Args:
        torch_version: e.g. ``2.13.0+cpu``.
        torchvision_version: e.g. ``0.28.0+cu130``.
        error: what importing torchvision raised, or None.
    """
    builds = [re.search(r"\+(\w+)", version) for version in (torch_version, torchvision_version)]
    kinds = [match.group(1) if match else "" for match in builds]
    nms = error is not None and "torchvision::nms" in error
    if nms:
        detail = (
            f"torch {torch_version} and torchvision {torchvision_version} were not built for each other "
            "(operator torchvision::nms does not exist), typically a CPU torch under a CUDA torchvision"
        )
        return Finding("versions", "torch + torchvision", "broken", detail, PLAIN_INSTALL)
    if all(kinds) and kinds[0] != kinds[1]:
        detail = f"torch is built for {kinds[0]}, torchvision for {kinds[1]}"
        return Finding("versions", "torch + torchvision", "warning", detail, PLAIN_INSTALL)
    return None


def _package(name: str) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding("versions", name, "broken", "not installed", f"pip install {name}")
    try:
        importlib.import_module(MODULES.get(name, name))
        error = None
    except Exception as problem:  # any failure of a package's own import is the finding
        error = f"{type(problem).__name__}: {problem}"
    if name == "torchvision":
        mismatch = known_mismatch(_version("torch"), version, error)
        if mismatch:
            return mismatch
    if error:
        first = error.splitlines()[0]
        return Finding("versions", name, "broken", f"{version}, import fails: {first}", f"pip install --upgrade {name}")
    return Finding("versions", name, "ok", version)


def _version(name: str) -> str:
    """The build's own version, with its +cpu or +cu suffix where it has one."""
    try:
        return str(importlib.import_module(name).__version__)
    except Exception:  # a broken import still has a recorded version
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return "none"


def _devices() -> list[Finding]:
    import torch

    threads = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    findings = [Finding("devices", "cpu", "ok", threads)]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        findings.append(Finding("devices", f"cuda:{index}", "ok", f"{properties.name}, {memory}"))
    if torch.version.cuda and not torch.cuda.is_available():
        findings.append(Finding("devices", "cuda", "warning", "this torch can use CUDA, but no GPU is visible"))
    return findings


def _codecs() -> list[Finding]:
    try:
        import av
    except Exception:  # already reported with the packages
        return []

    def find(name: str, mode: Literal["r", "w"]) -> Finding:
        kind = "decoder" if mode == "r" else "encoder"
        try:
            av.Codec(name, mode)
        except ValueError:
            return Finding("codecs", f"{kind} {name}", "broken", "missing", "pip install --force-reinstall av")
        return Finding("codecs", f"{kind} {name}", "ok", f"libavcodec {_dotted(av.library_versions['libavcodec'])}")

    return [find(name, "r") for name in DECODERS] + [find(name, "w") for name in ENCODERS]


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _surroundings() -> list[Finding]:
    """What is odd about the environment; commands work all the same."""
    findings = [
        Finding("environment", name, "warning", f"'{value}' is not used: {_WHY_REPLACED[name]}", f"unset {name}")
        for name, value in surroundings.replaced.items()
    ]
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if not encoding.lower().startswith("utf"):
        detail = f"cannot show every character ({encoding}): \\u2192 and the like stand for the others"
        findings.append(Finding("environment", "output", "warning", detail, "export PYTHONIOENCODING=utf-8"))
    for variable, (purpose, usual) in _CACHES.items():
        folder = _cache_folder(variable, usual)
        if folder is None or not _can_be_made(folder):
            where = "there is no home folder" if folder is None else f"{folder} cannot be written"
            remedy = f"export {variable}=FOLDER, one that you may write to"
            findings.append(Finding("environment", variable, "warning", f"{where}: {purpose}", remedy))
    return findings


def _cache_folder(variable: str, usual: str) -> Path | None:
    """The folder a library keeps things in; None where it would be below a home folder that nobody knows."""
    try:
        if own := os.environ.get(variable):
            return Path(own).expanduser()
        above = os.environ.get("XDG_CACHE_HOME") if usual.startswith("~/.cache/") else None
        return Path(above, Path(usual).name) if above else Path(usual).expanduser()
    except RuntimeError:  # no HOME, and a user that the system has no entry of
        return None


def _can_be_made(folder: Path) -> bool:
    there = _existing(folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _datasets(data_folder: Path) -> list[Finding]:
    from vidrepro.data.manifest import Manifest, list_prepared

    findings = []
    for name, found in list_prepared(data_folder):
        if isinstance(found, Manifest):
            counts: dict[str, Any] = found.counts()
            text = ", ".join(f"{split} {count['ok']} ({count['bad']} bad)" for split, count in counts.items())
            findings.append(Finding("datasets", name, "ok", f"{text}, fingerprint {found.fingerprint}"))
        else:
            findings.append(
                Finding("datasets", name, "broken", found.problem, found.hint or f"vidrepro prepare {name}")
            )
    if not findings:
        hint = "vidrepro prepare synthetic"
        findings.append(Finding("datasets", "(none)", "warning", f"nothing is prepared in {data_folder}", hint))
    return findings


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    folder = folder.absolute()
    return next(candidate for candidate in (folder, *folder.parents) if candidate.exists())
