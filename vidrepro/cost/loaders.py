"""The loaders that `measure_loader` compares, and clips to compare them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vidrepro.config import DataConfig
from vidrepro.data.cache import FrameCache, open_cache
from vidrepro.data.containers import open_container
from vidrepro.data.frames import write_video
from vidrepro.data.loading import ClipDataset
from vidrepro.data.manifest import Manifest, load_manifest, write_manifest
from vidrepro.errors import DataError
from vidrepro.experiments import default_preset, load_preset
from vidrepro.files import file_digest

CLIPS_PER_TURN = 8
MADE_FRAMES, MADE_HEIGHT, MADE_WIDTH, MADE_FPS = 48, 240, 320, 12
MADE_CRF, KEY_FRAME_EVERY = 32, 12  # about 90 kB a clip, the mean of Something-Something V2


def clips_to_read(dataset: str | None, data: Path, scratch: Path) -> tuple[Manifest, DataConfig]:
    """A prepared dataset with its preset's sampling and crop, or clips made in `scratch` with the paper's.

    Raises:
        ManifestError: if the dataset is not prepared.
        DataError: if it holds image sequences.
    """
    if dataset is None:
        return make_clips(scratch / "made-320x240"), DataConfig.model_validate({})
    preset = load_preset(default_preset(dataset))
    manifest = load_manifest(dataset, data)
    if (manifest.table["pattern"] != "").any():
        raise DataError(
            f"'{dataset}' is made of pictures: there is no video to decode",
            given=manifest.path,
            allowed="a dataset of video files, or none: then clips are made",
        )
    return manifest, DataConfig.model_validate(preset.data)


def make_clips(folder: Path, clips: int = CLIPS_PER_TURN) -> Manifest:
    """Write clips of a drifting texture, as large and as compressed as Something-Something's, and their manifest."""
    rows = []
    for number in range(clips):
        path = folder / f"{number}.mp4"
        write_video(path, drifting_texture(number), MADE_FPS, crf=MADE_CRF, key_frame_every=KEY_FRAME_EVERY)
        rows.append(
            {
                "id": str(number),
                "path": path.name,
                "frames": MADE_FRAMES,
                "fps": MADE_FPS,
                "width": MADE_WIDTH,
                "height": MADE_HEIGHT,
                "label": 0,
                "split": "train",
                "bytes": path.stat().st_size,
                "digest": file_digest(path),
                "status": "ok",
            }
        )
    info = {"name": folder.name, "root": ".", "classes": ["drifting"], "label_order": "one", "version": "1"}
    return write_manifest(folder, rows, info)


def drifting_texture(seed: int) -> NDArray[np.uint8]:
    """A cloudy texture that drifts, (T, H, W, 3): as hard to encode as a natural scene, unlike noise or flat colour."""
    rng = np.random.default_rng(seed)
    size = 2 * max(MADE_HEIGHT, MADE_WIDTH)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    spectrum = np.fft.fft2(rng.standard_normal((3, size, size))) / np.maximum(frequency, 1 / size)  # 1/f, as in nature
    texture = np.fft.ifft2(spectrum).real
    low, high = np.quantile(texture, [0.01, 0.99])
    pixels = (np.clip((texture - low) / (high - low), 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    step = rng.integers(1, 4, 2)
    return np.stack(
        [np.roll(pixels, tuple(-step * t), axis=(0, 1))[:MADE_HEIGHT, :MADE_WIDTH] for t in range(MADE_FRAMES)]
    )


def loader_tasks(manifest: Manifest, config: DataConfig) -> dict[str, Callable[[], int]]:
    """For each loader, a task that reads the next few training clips and returns how many."""
    cache = open_cache(manifest, "auto")
    tasks = {
        "vidrepro": _reading(_dataset(manifest, config, None)),
        "decode everything": _reading(_dataset(manifest, config, cast(FrameCache, DecodeEverything(manifest)))),
        "libav decode only": _decoding(manifest),
    }
    if cache is not None:
        tasks["vidrepro, cached"] = _reading(_dataset(manifest, config, cache))
    return tasks


class DecodeEverything:
    """The literal loader: every frame decoded and converted to RGB, then the wanted ones picked.

    It stands where a dataset expects its frame cache, so that all else is the same.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def frames(self, clip: Any, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """The wanted frames, (len(indices), H, W, 3)."""
        row = self.manifest.clip(clip if isinstance(clip, str) else str(clip.id))
        with open_container(self.manifest.root / row.path) as container:
            container.streams.video[0].codec_context.thread_count = 1
            everything = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        return everything[np.asarray(indices)]


def _dataset(manifest: Manifest, config: DataConfig, cache: FrameCache | None) -> ClipDataset:
    return ClipDataset(manifest, "train", config, seed=0, training=True, cache=cache)


def _reading(dataset: ClipDataset) -> Callable[[], int]:
    turn = _turns(len(dataset))

    def task() -> int:
        epoch, indices = turn()
        for index in indices:
            dataset.sample(index, epoch)
        return len(indices)

    return task


def _decoding(manifest: Manifest) -> Callable[[], int]:
    paths = [manifest.root / path for path in manifest.clips("train")["path"]]
    turn = _turns(len(paths))

    def task() -> int:
        _, indices = turn()
        for index in indices:
            with open_container(paths[index]) as container:
                container.streams.video[0].codec_context.thread_count = 1
                for _ in container.decode(video=0):
                    pass
        return len(indices)

    return task


def _turns(clips: int) -> Callable[[], tuple[int, list[int]]]:
    """Each call names the next few clips, the same for every loader: (epoch, indices)."""
    done = 0

    def turn() -> tuple[int, list[int]]:
        nonlocal done
        start, done = done, done + CLIPS_PER_TURN
        return start // clips, [position % clips for position in range(start, done)]

    return turn
