"""What a run is called, where it lies, and what is written down about it."""

from __future__ import annotations

import platform
import re
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

from vidrepro import __version__
from vidrepro.config import START_RUN, RunConfig
from vidrepro.errors import CheckpointError, ResultsError, UnknownNameError, closest, unknown_name
from vidrepro.files import atomic_write_text, experiments_folder, make_folder
from vidrepro.locks import holder

RUN_FILE = "run.json"
LAST_CHECKPOINT = "last.pt"
BEST_CHECKPOINT = "best.pt"
CHECKPOINTS = {"best": BEST_CHECKPOINT, "last": LAST_CHECKPOINT}  # as ``--checkpoint`` calls them
PROGRESS_FILE = "progress.json"
LOCK_FILE = ".lock"

# Everything but run.json is large or local; written into each run folder so that any results folder can be versioned.
IGNORED = "*.pt\n*.log\n.lock*\nscores/\nprogress.json\n"


def run_id(config: RunConfig, dataset_fingerprint: str, seed: int) -> str:
    """A run's name: readable, and unique by config, dataset content and seed."""
    model = config.model
    spec = f"{model.mechanism}-tsm" if model.temporal_shift else model.mechanism
    mechanism = re.sub(r"[^a-z0-9]+", "-", spec.lower()).strip("-")
    return f"{config.dataset}_{model.backbone}_{mechanism}_{config.fingerprint[:8]}_{dataset_fingerprint[:8]}_s{seed}"


def runs_folder(results: Path) -> Path:
    """Where runs lie in a results folder."""
    return results / "runs"


def make_run_folder(results: Path, name: str) -> Path:
    """Create a run's folder.

    Raises:
        ResultsError: if the results folder cannot be written.
    """
    folder = runs_folder(results) / name
    make_folder(folder)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        atomic_write_text(ignore, IGNORED)
    return folder


def find_run(results: Path, name: str) -> Path:
    """The folder of a run given by its id, an unambiguous beginning of it, or its path.

    Raises:
        UnknownNameError: if there is none, naming the closest ones.
        ResultsError: if several begin like this, or it is not finished.
    """
    if (Path(name) / RUN_FILE).is_file():
        return Path(name)
    folder = runs_folder(results)
    names = sorted(path.parent.name for path in folder.glob(f"*/{RUN_FILE}"))
    matches = [name] if name in names else [candidate for candidate in names if candidate.startswith(name)]
    if not matches:
        _refuse_unfinished(folder, name)
    if not names and not matches:
        raise unknown_name("run", name, names, hint=f"no finished run lies in {folder}")
    if not matches:
        close = " or ".join(map(repr, closest(name, names)))
        raise UnknownNameError(
            f"unknown run '{name}'",
            given=name,
            allowed=f"one of {len(names)} runs in {folder}, by its name, an unambiguous beginning of it, or its path",
            hint=f"{f'did you mean {close}? ' if close else ''}vidrepro runs lists them",
        )
    if len(matches) > 1:
        raise ResultsError(f"'{name}' is the beginning of several runs", given=name, allowed=matches)
    return folder / matches[0]


def _refuse_unfinished(folder: Path, name: str) -> None:
    """Say of a run that was begun what has become of it.

    Raises:
        ResultsError: if exactly one run that is not finished begins with `name`.
    """
    begun = [path for path in folder.glob("*") if path.is_dir() and path.name.startswith(name)]
    if len(begun) == 1:
        who = lock_holder(begun[0])
        raise ResultsError(
            "the run is being trained" if who else "the run is not finished",
            given=begun[0].name,
            allowed="a finished run",
            hint=f"wait for {who}" if who else "the command that began it goes on with it; vidrepro runs lists all",
            where=begun[0],
        )


def lock_holder(folder: Path) -> str | None:
    """Which process works on a run right now; None if none does."""
    return holder(folder / LOCK_FILE)


def require_checkpoint_name(name: str) -> None:
    """Refuse what is no name of a checkpoint.

    Raises:
        UnknownNameError: naming those of `CHECKPOINTS`.
    """
    if name not in CHECKPOINTS:
        raise unknown_name("checkpoint", name, CHECKPOINTS)


def weights_of_run(folder: Path) -> Path:
    """The checkpoint a finished run is judged by, to start another network from.

    Raises:
        CheckpointError: if the run is not finished, or its checkpoint is not there.
    """
    if not (folder / RUN_FILE).is_file():
        raise CheckpointError("the run to start from is not finished", given=folder.name, hint="train it first")
    if not (folder / BEST_CHECKPOINT).is_file():
        raise CheckpointError(
            "the run to start from has lost its checkpoint: results are versioned without them",
            given=folder.name,
            hint="train it again under another --results folder, and start from there",
            where=folder / BEST_CHECKPOINT,
        )
    return folder / BEST_CHECKPOINT


def start_weights(results: Path, weights: str | None, dataset_fingerprint: str, seed: int) -> Path | None:
    """The checkpoint that ``run:FINGERPRINT`` means for one run: of the run with that config, its dataset and seed.

    Args:
        results: where both runs lie.
        weights: of a run's config; None is returned for all but ``run:FINGERPRINT``.
        dataset_fingerprint: of the run that is to start.
        seed: its seed.

    Raises:
        CheckpointError: if there is no such run, or it cannot be started from.
    """
    if weights is None or not weights.startswith(START_RUN):
        return None
    wanted = weights.removeprefix(START_RUN)
    end = f"_{wanted[:8]}_{dataset_fingerprint[:8]}_s{seed}"
    finished = (path.parent for path in runs_folder(results).glob(f"*/{RUN_FILE}"))
    folders = [path for path in finished if path.name.endswith(end)]
    if len(folders) != 1:
        raise CheckpointError(
            f"there is no finished run to start from with this config, dataset and seed {seed}",
            given=weights,
            allowed=f"a run whose id ends with {end}",
            hint="train it first: the same command without --from, for the row it names",
            where=runs_folder(results),
        )
    return weights_of_run(folders[0])


@lru_cache(maxsize=1)
def commit() -> tuple[str | None, bool]:
    """The commit of vidrepro's own checkout and whether code or experiments there were modified.

    (None, False) for an installed package. Asked once, at a run's start: HEAD may move while it trains.
    """
    package = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # a site-packages inside somebody else's checkout is not ours
        return git("rev-parse", "--short=10", "HEAD"), bool(
            git("status", "--porcelain", "--", str(package), str(experiments_folder()))
        )
    except (OSError, subprocess.SubprocessError):
        return None, False


def code_version() -> str:
    """The code that runs, as written into checkpoints: its commit, with a + if modified, or the package's version."""
    revision, dirty = commit()
    return f"{revision}{'+' if dirty else ''}" if revision else __version__


def environment(device: str, threads: int, versions: list[str]) -> dict[str, Any]:
    """What the run was made with; nothing of it is part of the run's identity.

    Args:
        device: as torch names it.
        threads: of torch.
        versions: `code_version` of every process that worked on the run; several if it was resumed by other code.
    """
    import torch
    import torchvision

    last = versions[-1]
    is_commit = commit()[0] is not None
    return {
        "commit": last.rstrip("+") if is_commit else None,
        "dirty": last.endswith("+"),
        "commits": versions,
        "vidrepro": __version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "threads": threads,
    }
