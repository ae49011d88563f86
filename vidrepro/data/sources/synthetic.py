"""The embedded dataset on disk: clips, annotations and manifest, made by several processes, resumable at any clip."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vidrepro.data.dataset_info import complete_info
from vidrepro.data.encode import write_video
from vidrepro.data.manifest import Journal, Manifest, load_manifest, write_manifest
from vidrepro.data.manifest_rows import iterate_clips
from vidrepro.data.sources.contract import Description, Options, PreparationInterrupted
from vidrepro.data.sources.parallel import run_chunks, usable_cores
from vidrepro.data.synthetic.draws import GENERATOR_VERSION
from vidrepro.data.synthetic.generator import PlannedClip, plan_clips, render_clip
from vidrepro.data.synthetic.ground_truth import save_annotations
from vidrepro.data.synthetic.presets import DEFAULT_PRESET, PRESETS, Preset, find_preset
from vidrepro.data.verify_files import check_files
from vidrepro.errors import ConfigError, ManifestError
from vidrepro.files import file_digest, fingerprint, not_writable

Row = dict[str, Any]
Progress = Callable[[int, int], None]

_CHUNK = 8  # clips a worker makes at a time: few enough that Ctrl-C is answered at once
# What a preparation puts into the dataset's folder, in the order in which it goes: the clips before what names them.
_OURS = ("clips", "annotations", "cache", "manifest.csv", "dataset.json")
# A clip's file, or a worker's unfinished one: all that is ours in a folder outside the data folder.
_OUR_FILE = re.compile(r"\.?(train|val|test)-\d{6}(-\w+)?")


def describe() -> list[Description]:
    """One entry per preset."""
    return [
        Description(
            name=preset.dataset,
            content=f"{len(preset.classes)} classes ({len(preset.pairs)} reversal pairs), "
            + ", ".join(f"{count * len(preset.classes)} {split}" for split, count in preset.clips)
            + f" clips of {preset.side}x{preset.side}; --preset {preset.name}",
            origin="made here, no download",
        )
        for preset in PRESETS.values()
    ]


def prepare(options: Options) -> Manifest:
    """Prepare the dataset that a name and a preset mean together.

    Raises:
        ConfigError: if they contradict each other.
        Other errors: see `prepare_synthetic`.
    """
    usual = Options(options.data_folder, options.dataset)
    for name in ("split", "label_order", "allow_missing", "reencode", "frames", "quality"):
        if getattr(options, name) != getattr(usual, name):
            raise ConfigError(
                f"--{name.replace('_', '-')} has no meaning for '{options.dataset}', which is made here",
                given=getattr(options, name),
                allowed="with a dataset that is made from a download",
            )
    by_dataset = {preset.dataset: preset.name for preset in PRESETS.values()}
    named = by_dataset[options.dataset]
    preset = options.preset or named
    if options.dataset != find_preset(DEFAULT_PRESET).dataset and preset != named:
        raise ConfigError(
            f"dataset '{options.dataset}' is preset '{named}'",
            given=f"--preset {preset}",
            allowed=f"--preset {named}, or none",
            hint=f"vidrepro prepare synthetic --preset {preset}",
        )
    return prepare_synthetic(
        options.data_folder,
        preset,
        0 if options.seed is None else options.seed,
        options.workers,
        options.progress,
        root=options.root,
        force=options.force,
        say=options.say,
    )


def prepare_synthetic(
    data_folder: Path,
    preset: str | Preset = DEFAULT_PRESET,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    *,
    root: Path | None = None,
    force: bool = False,
    say: Callable[[str], None] | None = None,
) -> Manifest:
    """Make the embedded dataset, or what is missing of it.

    The content depends on preset, seed and the generator's version alone. An interrupted or killed call is taken up
    by the same call; a finished one returns at once, after making good any clip that is gone or cut short.

    Args:
        data_folder: where prepared datasets lie; this one goes to ``<data_folder>/<preset's dataset name>``.
        preset: its name, or a preset of one's own.
        seed: another seed gives other clips of the same distribution.
        workers: processes; None for one per usable core, 1 for this process alone.
        progress: called with (clips done, clips in all).
        root: put clips and annotations into ``<root>/<dataset name>`` instead of beside the manifest.
        force: replace what was prepared with other settings, or is damaged.
        say: called with a sentence for the user.

    Raises:
        UnknownNameError: if there is no such preset.
        ManifestError: if the folder holds a dataset of other settings or a damaged manifest (unless `force`), or is
            being prepared already.
        ResultsError: if it cannot be written.
        PreparationInterrupted: on Ctrl-C.
    """
    chosen = find_preset(preset) if isinstance(preset, str) else preset
    if seed < 0 or (workers is not None and workers < 1):
        raise ConfigError("seed must be 0 or more, workers 1 or more", given=f"seed {seed}, workers {workers}")
    job = _Job(Path(data_folder) / chosen.dataset, chosen, seed, root)
    there = job.is_there()
    old = job.existing(tolerant=force) if there else None
    if old is not None and old.info.get("settings_fingerprint") != job.key:
        if not force:
            raise job.refusal(old)
        old = None
    kept = job.intact_rows(old)
    if old is not None and len(kept) == len(job.plan):
        if say:
            say(f"dataset '{chosen.dataset}' is already prepared")
        return old
    with Journal(job.folder, job.key) as journal:
        if say and journal.discarded:
            say(journal.discarded)
        if there and old is None:
            job.remove_existing()
        job.remove_torn_files()
        kept |= {row["id"]: row for row in journal.done.values() if job.is_intact(row, thorough=True)}
        rows = job.make(kept, journal, workers or usable_cores(), progress)
        return write_manifest(job.folder, [rows[clip.id] for clip in job.plan], job.info())


class _Job:
    """One dataset to be made: where it goes, what it consists of, and what of it is there."""

    def __init__(self, folder: Path, preset: Preset, seed: int, root: Path | None) -> None:
        self.folder, self.preset, self.seed = folder, preset, seed
        self.root_entry = "." if root is None else str(root.resolve() / preset.dataset)
        self.root = folder / self.root_entry
        self.plan = plan_clips(preset, seed)
        self.encoding = {"codec": "libx264", "crf": preset.crf, "key_frame_every": 1, "pixel_format": "yuv420p"}
        self.key = fingerprint(
            {
                "generator": GENERATOR_VERSION,
                "preset": preset.settings(),
                "seed": seed,
                "encoding": self.encoding,
                "root": self.root_entry,
            }
        )[:16]

    def info(self) -> dict[str, Any]:
        """The content of dataset.json."""
        return {
            "name": self.preset.dataset,
            "root": self.root_entry,
            "classes": list(self.preset.classes),
            "label_order": "class names in alphabetical order",
            "version": GENERATOR_VERSION,
            "preset": self.preset.name,
            "seed": self.seed,
            "encoding": self.encoding,
            "reversal_pairs": self.preset.reversal_pairs,
            "order_blind_ceiling": self.preset.order_blind_ceiling,
            "settings": self.preset.settings(),
            "settings_fingerprint": self.key,
            "annotations": "annotations/<id>.npz, see vidrepro.data.synthetic.ground_truth",
        }

    def is_there(self) -> bool:
        """Whether the folder holds a finished dataset, sound or damaged."""
        return (self.folder / "manifest.csv").is_file() and (self.folder / "dataset.json").is_file()

    def existing(self, *, tolerant: bool) -> Manifest | None:
        """The finished dataset in the folder; None for a damaged one, if `tolerant`."""
        try:
            return load_manifest(self.preset.dataset, self.folder.parent)
        except ManifestError:
            if tolerant:
                return None
            raise

    def refusal(self, old: Manifest) -> ManifestError:
        """Why another dataset is not overwritten."""
        have, want = _told_settings(old.info), _told_settings(complete_info(self.info()))
        differing = [key for key in want if want[key] != have.get(key)]
        return ManifestError(
            f"dataset '{self.preset.dataset}' is already prepared with other settings",
            given=", ".join(f"{key} {want[key]}" for key in differing),
            allowed=", ".join(f"{key} {have.get(key)}" for key in differing)
            + f": what is there (fingerprint {old.fingerprint})",
            hint="add --force to replace it, or choose another folder with --data",
            where=self.folder,
        )

    def remove_existing(self) -> None:
        """Delete the dataset that is there, wherever it says its clips are, and nothing that is not ours."""
        try:
            root = self._recorded_root()
            if root is not None:
                _remove_clips(root)
            for name in _OURS:
                path = self.folder / name
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise not_writable(self.folder, error) from error

    def _recorded_root(self) -> Path | None:
        """The folder outside this one where the dataset that is there keeps its clips, as far as it can be read."""
        try:
            root = self.folder / json.loads((self.folder / "dataset.json").read_text(encoding="utf-8-sig"))["root"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        root = root.resolve()
        # a preparation with a root of the user's makes a folder of the dataset's name in it; any other is not ours
        return root if root.name == self.preset.dataset and root != self.folder.resolve() else None

    def remove_torn_files(self) -> None:
        """Delete the temporary files of workers that were killed."""
        for name in ("clips", "annotations"):
            for path in (self.root / name).glob(".*"):
                path.unlink(missing_ok=True)

    def intact_rows(self, manifest: Manifest | None) -> dict[str, Row]:
        """Rows of a finished dataset whose files are there in full length."""
        if manifest is None:
            return {}
        bad = {problem.clip for problem in check_files(manifest, quick=True)}
        rows = (row._asdict() for row in iterate_clips(manifest.table) if row.id not in bad)
        return {row["id"]: row for row in rows if self._annotation(row["id"]).is_file()}

    def is_intact(self, row: Row, *, thorough: bool) -> bool:
        """Whether a clip's files are there as its row says."""
        path = self.root / row["path"]
        if not path.is_file() or path.stat().st_size != row["bytes"] or not self._annotation(row["id"]).is_file():
            return False
        return not thorough or file_digest(path) == row["digest"]

    def make(self, kept: dict[str, Row], journal: Journal, workers: int, progress: Progress | None) -> dict[str, Row]:
        """Make every clip that is not kept.

        Returns:
            The rows of all clips by id.
        """
        rows = dict(kept)
        missing = [clip for clip in self.plan if clip.id not in rows]

        def finish(made: Sequence[Row]) -> None:
            for row in made:
                rows[row["id"]] = row
                if row["id"] not in journal.done:
                    journal.append(row)
            if progress:
                progress(len(rows), len(self.plan))

        finish([])
        chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
        try:
            if workers == 1 or len(chunks) <= 1:
                for clip in missing:
                    finish([self._make_clip(clip)])
            else:
                run_chunks(self.make_chunk, chunks, workers, finish)
        except KeyboardInterrupt:
            raise PreparationInterrupted(len(rows), len(self.plan)) from None
        return rows

    def make_chunk(self, clips: Sequence[PlannedClip]) -> list[Row]:
        """Make some clips (in a worker)."""
        return [self._make_clip(clip) for clip in clips]

    def _make_clip(self, clip: PlannedClip) -> Row:
        rendering = render_clip(self.preset.classes[clip.label], clip.id, self.preset, self.seed)
        relative = f"clips/{clip.id}.mp4"
        path = self.root / relative
        save_annotations(self._annotation(clip.id), rendering.annotations)
        write_video(path, rendering.frames, self.preset.fps, crf=self.preset.crf)
        return {
            "id": clip.id,
            "path": relative,
            "frames": len(rendering.frames),
            "fps": float(self.preset.fps),
            "width": self.preset.side,
            "height": self.preset.side,
            "label": clip.label,
            "split": clip.split,
            "bytes": path.stat().st_size,
            "digest": file_digest(path),
            "status": "ok",
        }

    def _annotation(self, clip_id: str) -> Path:
        return self.root / "annotations" / f"{clip_id}.npz"


def _remove_clips(root: Path) -> None:
    """Delete the clips and annotations in a folder that may hold other files too, and what is empty then."""
    for name in ("clips", "annotations"):
        for path in list((root / name).glob("*")):
            if _OUR_FILE.fullmatch(path.stem) and path.suffix in (".mp4", ".npz") and path.is_file():
                path.unlink()
    for folder in (root / "clips", root / "annotations", root):
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()


def _told_settings(info: dict[str, Any]) -> dict[str, Any]:
    """What a dataset.json says it was made with, by name."""
    return {**{key: info.get(key) for key in ("seed", "version", "root", "encoding")}, **info.get("settings", {})}
