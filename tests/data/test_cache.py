from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import psutil
import pytest
from sample_clips import INFO, positions_of

from vidrepro.data.cache import FrameCache, cache_bytes, open_cache
from vidrepro.data.frames import read_clip
from vidrepro.data.manifest import Manifest, load_manifest, write_manifest
from vidrepro.data.manifest_rows import iterate_clips
from vidrepro.errors import ConfigError, DataError, DecodeError, ManifestError, ResultsError

MakeDataset = Callable[..., Manifest]
FullDisk = Callable[[int], AbstractContextManager[None]]
RunScript = Callable[..., subprocess.CompletedProcess[str]]


def made(manifest: Manifest, **options: object) -> FrameCache:
    cache = open_cache(manifest, "always", **options)  # type: ignore[arg-type]
    assert cache is not None
    return cache


def files(manifest: Manifest) -> list[str]:
    return sorted(path.name for path in (manifest.folder / "cache").iterdir() if not path.name.startswith(".lock"))


def finished(manifest: Manifest) -> list[str]:
    return [f"frames-{manifest.fingerprint}.json", f"frames-{manifest.fingerprint}.u8"]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_cache_holds_what_decoding_gives(make_dataset: MakeDataset, workers: int) -> None:
    manifest = make_dataset(clips=20)
    cache = made(manifest, workers=workers)
    clips = [clip for clip in iterate_clips(manifest.table) if clip.status == "ok"]
    assert len(cache) == len(clips) == 22
    assert len({(clip.frames, clip.height, clip.width) for clip in clips}) >= 5
    for clip in clips:
        everything = read_clip(manifest, clip, range(clip.frames))
        assert np.array_equal(cache.frames(clip, range(clip.frames)), everything)
        assert np.array_equal(cache.frames(clip.id, [3, 0, 3]), everything[[3, 0, 3]])
    assert positions_of(cache.frames("c1", np.array([9, 2]))) == [9, 2]
    assert files(manifest) == finished(manifest)
    stored = sum(clip.frames * clip.height * clip.width * 3 for clip in clips)
    assert cache_bytes(manifest) == stored == cache.pixels.stat().st_size


def test_frames_are_a_copy(make_dataset: MakeDataset) -> None:
    cache = made(make_dataset())
    first = cache.frames("c0", [0, 1])
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(cache.frames("c0", [0, 1]), kept)
    assert first.flags.writeable
    assert type(first) is np.ndarray


def test_wrong_clips_and_positions_are_refused(make_dataset: MakeDataset) -> None:
    cache = made(make_dataset())
    assert "c0" in cache
    assert "broken" not in cache
    with pytest.raises(DataError, match="'broken' is not in the frame cache"):
        cache.frames("broken", [0])
    for wanted in ([12], [-1], [0, 12]):
        with pytest.raises(DecodeError, match=r"outside the clip(.|\n)*'c0'"):
            cache.frames("c0", wanted)
    for wanted in ([], [0.5], [[1]]):
        with pytest.raises(DecodeError, match="whole numbers"):
            cache.frames("c0", wanted)


def test_modes(make_dataset: MakeDataset) -> None:
    manifest = make_dataset()
    size = cache_bytes(manifest)
    assert open_cache(manifest, "never") is None
    assert open_cache(manifest, "auto", limit_bytes=size - 1) is None
    assert not (manifest.folder / "cache").exists()
    with pytest.raises(ConfigError, match="mode"):
        open_cache(manifest, "sometimes")
    assert open_cache(manifest, "auto", limit_bytes=size) is not None
    assert open_cache(manifest, "auto", limit_bytes=1) is not None  # it is there already
    assert open_cache(manifest, "never") is None


def test_it_is_made_once_and_reports_progress(make_dataset: MakeDataset) -> None:
    manifest = make_dataset(clips=40)
    calls: list[tuple[int, int]] = []
    made(manifest, progress=lambda *done: calls.append(done))
    assert calls[-1] == (42, 42)
    assert len(calls) > 1
    assert calls == sorted(calls)
    written = made(manifest).pixels.stat().st_mtime_ns
    made(manifest, progress=lambda *done: pytest.fail("made again"))
    assert made(manifest).pixels.stat().st_mtime_ns == written


def test_another_manifest_gets_another_cache_and_the_old_one_goes(make_dataset: MakeDataset) -> None:
    manifest = make_dataset()
    old = made(manifest)
    before = old.frames("c0", [0, 1])
    rows = manifest.table[manifest.table["id"] != "c1"]
    other = write_manifest(manifest.folder, rows, INFO)
    assert other.fingerprint != manifest.fingerprint
    cache = made(other)
    assert "c1" not in cache
    assert files(manifest) == finished(other)
    assert np.array_equal(old.frames("c0", [0, 1]), before)  # a run that still reads the old one is not disturbed


def test_half_made_and_foreign_files_are_not_used(make_dataset: MakeDataset) -> None:
    manifest = make_dataset()
    cache = made(manifest)
    good = cache.frames("c0", range(12))
    index = cache.pixels.with_suffix(".json")
    whole_index, whole_pixels = index.read_text(), cache.pixels.read_bytes()

    def no_index() -> None:
        index.unlink()
        cache.pixels.write_bytes(bytes(len(whole_pixels)))

    def short_pixels() -> None:
        cache.pixels.write_bytes(whole_pixels[:-1])

    def no_pixels() -> None:
        cache.pixels.unlink()

    def torn_index() -> None:
        index.write_text(whole_index[: len(whole_index) // 2])

    def other_fingerprint() -> None:
        index.write_text(json.dumps(json.loads(whole_index) | {"fingerprint": "0" * 16}))
        cache.pixels.write_bytes(bytes(len(whole_pixels)))

    for damage in (no_index, short_pixels, no_pixels, torn_index, other_fingerprint):
        damage()
        assert np.array_equal(made(manifest).frames("c0", range(12)), good), damage.__name__
        assert files(manifest) == finished(manifest)


def test_a_clip_that_does_not_decode_stops_the_making_and_leaves_nothing(make_dataset: MakeDataset) -> None:
    for workers in (1, 2):
        manifest = make_dataset(clips=20, name=f"toy{workers}")
        content = (manifest.root / "clips/c17.mp4").read_bytes()
        (manifest.root / "clips/c17.mp4").write_bytes(content[:300])
        with pytest.raises(DecodeError, match=r"c17\.mp4"):
            made(manifest, workers=workers)
        assert files(manifest) == []


def test_a_clip_of_another_size_than_recorded_is_refused(make_dataset: MakeDataset) -> None:
    manifest = make_dataset()
    rows = manifest.table.copy()
    rows.loc[rows["id"] == "c1", ["width", "height"]] = rows.loc[rows["id"] == "c1", ["height", "width"]].to_numpy()
    manifest = write_manifest(manifest.folder, rows, INFO)
    with pytest.raises(ManifestError, match="'c1' decodes to another size"):
        made(manifest)
    assert files(manifest) == []


def test_a_place_that_cannot_be_written_is_told_and_done_without(make_dataset: MakeDataset) -> None:
    manifest = make_dataset()
    (manifest.folder / "cache").touch()
    with pytest.warns(UserWarning, match=r"clips are decoded each time(.|\n)*cannot write to .*cache") as warned:
        assert open_cache(manifest) is None
    assert len(warned) == 1 and warned[0].filename == __file__
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_cache(manifest, "auto", say=said.append) is None
    assert said == [str(warned[0].message)]
    with pytest.raises(ResultsError, match="cannot write") as refusal:
        open_cache(manifest, "always", say=said.append)
    assert "--cache never" in str(refusal.value.hint)
    assert len(said) == 1


def test_what_does_not_decode_is_refused_in_every_mode(make_dataset: MakeDataset) -> None:
    manifest = make_dataset()
    (manifest.root / "clips/c1.mp4").write_bytes(b"")
    for mode in ("auto", "always"):
        with pytest.raises(DecodeError, match=r"c1\.mp4"):
            open_cache(manifest, mode)


def test_a_full_disk_leaves_nothing(make_dataset: MakeDataset, full_disk: FullDisk) -> None:
    manifest = make_dataset()
    assert cache_bytes(manifest) > 50_000
    with full_disk(50_000):
        with pytest.raises(ResultsError, match="cannot write"):
            open_cache(manifest, "always")
        assert files(manifest) == []
        with pytest.warns(UserWarning, match="cannot write"):
            assert open_cache(manifest) is None
    assert files(manifest) == []
    assert np.array_equal(made(manifest).frames("c0", [3]), read_clip(manifest, manifest.clip("c0"), [3]))


# --- several processes ---------------------------------------------------------------------------------------------

BUILDER = """
import sys
from pathlib import Path
from vidrepro.data.cache import open_cache
from vidrepro.data.manifest import load_manifest

if __name__ == "__main__":
    manifest = load_manifest("toy", Path(sys.argv[1]))
    steps = []
    cache = open_cache(manifest, "always", progress=lambda done, total: steps.append(done))
    print(bool(steps), int(cache.frames("c0", range(12)).astype(int).sum()))
"""


def test_builders_at_the_same_time_build_once(make_dataset: MakeDataset, tmp_path: Path) -> None:
    manifest = make_dataset(clips=60)
    script = tmp_path / "builder.py"
    script.write_text(BUILDER)
    command = [sys.executable, str(script), str(manifest.folder.parent)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    expected = str(int(read_clip(manifest, manifest.clip("c0"), range(12)).astype(int).sum()))
    assert sorted(built for built, _ in outputs) == ["False", "False", "True"]
    assert {total for _, total in outputs} == {expected}
    assert files(manifest) == finished(manifest)


STOPPED = """
import os, signal, sys
from pathlib import Path
import psutil
from vidrepro.data.cache import open_cache
from vidrepro.data.manifest import load_manifest

def stop_in_the_middle(done, total):
    if done > 32:
        print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
        os.kill(0, signal.SIGINT) if sys.argv[3] == "SIGINT" else os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    os.setsid()  # Ctrl-C reaches the whole group: this process and its workers, not the tests
    manifest = load_manifest("toy", Path(sys.argv[1]))
    open_cache(manifest, "always", workers=int(sys.argv[2]), progress=stop_in_the_middle)
"""


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(("workers", "sent"), [(1, "SIGKILL"), (2, "SIGKILL"), (2, "SIGINT")])
def test_a_stopped_builder_leaves_nothing_usable_and_no_process(
    make_dataset: MakeDataset, run_script: RunScript, workers: int, sent: str
) -> None:
    manifest = make_dataset(clips=100)
    done = run_script(STOPPED, manifest.folder.parent, workers, sent)
    children = [int(pid) for pid in done.stdout.split()]
    assert (len(children) >= 2) == (workers == 2)
    if sent == "SIGINT":
        assert "KeyboardInterrupt" in done.stderr
        assert files(manifest) == []
    else:
        assert done.returncode == -9, done.stderr
        assert [name.startswith(".frames-") for name in files(manifest)] == [True]
    for _ in range(100):  # the workers end with their parent
        if not any(map(is_running, children)):
            break
        time.sleep(0.1)
    assert not any(map(is_running, children))
    cache = made(manifest)
    assert files(manifest) == finished(manifest)
    for name in ("c0", "c50", "c99"):
        clip = manifest.clip(name)
        assert np.array_equal(cache.frames(name, range(clip.frames)), read_clip(manifest, clip, range(clip.frames)))


def test_it_travels_by_pickle_without_its_pixels(make_dataset: MakeDataset) -> None:
    cache = made(make_dataset(clips=10))
    expected = cache.frames("c3", [1, 5])
    pickled = pickle.dumps(cache)
    assert len(pickled) < 5000 < cache.pixels.stat().st_size
    assert np.array_equal(pickle.loads(pickled).frames("c3", [1, 5]), expected)


WORKERS = """
import multiprocessing, sys
from pathlib import Path
from vidrepro.data.cache import open_cache
from vidrepro.data.manifest import load_manifest

def total(argument):
    cache, clip = argument
    return int(cache.frames(clip, [0, 7, 3]).astype(int).sum())

if __name__ == "__main__":
    cache = open_cache(load_manifest("toy", Path(sys.argv[2])), "always")
    work = [(cache, clip) for clip in ["c0", "c1", "c2", "v0"] * 5]
    here = [total(one) for one in work]
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.map_async(total, work).get(timeout=60) == here
    print("agreed")
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_it(make_dataset: MakeDataset, run_script: RunScript, method: str) -> None:
    manifest = make_dataset()
    done = run_script(WORKERS, method, manifest.folder.parent)
    assert done.stdout == "agreed\n", done.stderr


def test_it_serves_a_manifest_that_was_moved(make_dataset: MakeDataset, tmp_path: Path) -> None:
    manifest = make_dataset()
    expected = made(manifest).frames("c0", [2])
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = load_manifest("toy", tmp_path / "moved")
    assert np.array_equal(made(moved, progress=lambda *done: pytest.fail("made again")).frames("c0", [2]), expected)
