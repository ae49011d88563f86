"""What preparing a dataset of Something-Something V2's size costs on this machine.

Everything is made for it in a temporary folder: annotations of 220,847 clips with that many files, thousands of tiny
clips, and some clips of V2's real size. Each measurement runs in a process of its own, so that its peak memory is its.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from vidrepro.errors import DataError

Record = dict[str, Any]

# Something-Something V2: its lists, and how many clips each has.
LISTS = (("train", 168_913), ("validation", 24_777), ("test", 27_157))
CLIPS = sum(count for _, count in LISTS)
CHECKED = 20_000
WHOLE = 16  # clips of V2's real size, decoded to compare speeds
ROUNDS = 5
_MEASURED_EVERY = 500  # clips, of the memory
_DATASET = "ssv2"


def measure_prepare(clips: int = CLIPS, checked: int = CHECKED, rounds: int = ROUNDS) -> list[Record]:
    """All measurements.

    Args:
        clips: entries of the annotations.
        checked: tiny clips, in whose check memory must not grow.
        rounds: how often decoding speeds are compared.

    Returns:
        Records with ``name``, ``value``, ``unit``, and ``limit`` with ``at_least``: what the value must not exceed, or
        must reach; None where nothing is demanded.
    """
    with tempfile.TemporaryDirectory(prefix="vidrepro-prepare-") as name:
        folder = Path(name)
        write_download(folder / "large", clips)
        joined = _apart("join", folder / "large", folder / "data")
        loader = _apart("loader", folder / "data")
        write_tiny_clips(folder / "tiny", checked)
        memory = _apart("memory", folder / "tiny")
        speed = _apart("speed", folder / "whole", rounds)
    return [
        _record(f"{clips:,} entries read, joined with files and written", joined["seconds"], "s", 30.0),
        _record("processor time of that", joined["cpu_seconds"], "s"),
        _record("peak memory of that", joined["peak_bytes"] / 1e9, "GB", 1.5),
        _record(f"memory growth while {checked:,} clips are checked", memory["growth_bytes"] / 1e6, "MB", 20.0),
        _record("the same of a worker", memory["worker_growth_bytes"] / 1e6, "MB", 10.0),
        _record("checking speed, over plain PyAV decoding", speed["relative"], "x", 0.9, at_least=True),
        _record("clips of V2's size checked", speed["clips_per_second"], "clips/s per core"),
        _record(f"loader start-up with {clips:,} clips", loader["seconds"], "s", 2.0),
        _record("processor time of that", loader["cpu_seconds"], "s"),
        _record("growth of a loader's worker over 20,000 clips", loader["growth_bytes"] / 1e6, "MB", 10.0),
    ]


def write_download(folder: Path, clips: int) -> None:
    """A download shaped like V2's: lists in Qualcomm's format, and an empty file for each clip."""
    from vidrepro.data.sources.something_something import CLASSES

    rng = np.random.default_rng(0)
    ids = [str(number + 1) for number in rng.permutation(clips).tolist()]
    names = [CLASSES[label] for label in rng.integers(0, len(CLASSES), clips).tolist()]
    (folder / "labels").mkdir(parents=True)
    start = 0
    for name, count in LISTS:
        stop = clips if name == "test" else start + count * clips // CLIPS
        part = list(zip(ids[start:stop], names[start:stop], strict=True))
        if name == "test":  # its list has no labels: they come in a file of their own
            rows = [{"id": clip} for clip, _ in part]
            answers = "".join(f"{clip};{text}\n" for clip, text in part)
            (folder / "labels" / "test-answers.csv").write_text(answers, encoding="utf-8")
        else:
            rows = [_annotation(clip, text) for clip, text in part]
        (folder / "labels" / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        start = stop
    labels = json.dumps({name: str(label) for label, name in enumerate(CLASSES)})
    (folder / "labels" / "labels.json").write_text(labels, encoding="utf-8")
    media = folder / "20bn-something-something-v2"
    media.mkdir()
    for clip in ids:
        os.close(os.open(media / f"{clip}.webm", os.O_CREAT | os.O_WRONLY, 0o644))


def write_tiny_clips(folder: Path, clips: int) -> None:
    """Clips of 4 frames, each a file of its own."""
    from vidrepro.data.encode import write_video

    folder.mkdir(parents=True)
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    write_video(folder / "0.mp4", frames, 12, crf=30, key_frame_every=4)
    content = (folder / "0.mp4").read_bytes()
    for number in range(1, clips):
        (folder / f"{number}.mp4").write_bytes(content)


def measure_join(download: str, data: str) -> Record:
    """Read, join, compare and write, everything but the decoding: each clip is given a made-up result."""
    from vidrepro.data.manifest import write_manifest
    from vidrepro.data.scan.check_clip import Scan
    from vidrepro.data.sources import prepare, ssv2
    from vidrepro.data.sources.check_clips import Checked
    from vidrepro.data.sources.completeness import Completeness

    start, began = time.perf_counter(), time.process_time()
    folder = Path(data) / _DATASET
    found = prepare.read_download(ssv2, Path(download), folder, None)  # type: ignore[arg-type]
    completeness = Completeness(_DATASET, found.annotations, None, 1.0, prepare.missing_clips(found))
    entries = found.annotations.entries
    if completeness.lost:
        raise DataError("the generated download was not read as a whole", given=completeness.lost[0].line())
    checked = Checked({})
    for place, entry in enumerate(entries):
        checked.scans[entry.id] = Scan(20 + place % 50, 12.0, 427, 240, 90_000 + place, f"{place:064x}")
    info = prepare.dataset_info(ssv2, found, folder, None, None)  # type: ignore[arg-type]
    rows = [prepare.manifest_row(completeness, one, found.located.media[one.id], checked) for one in entries]
    write_manifest(folder, rows, info | {"completeness": completeness.summary()})
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def measure_memory(folder: str) -> Record:
    """Memory of this process and of its worker over the check of many clips, beyond the first quarter of them."""
    from vidrepro.data.journal import Journal
    from vidrepro.data.scan.check_clip import ClipFiles
    from vidrepro.data.sources.check_clips import results_of

    paths = sorted(Path(folder).glob("*.mp4"))
    own: list[int] = []
    workers: list[int] = []
    results = results_of([ClipFiles(path.stem, path) for path in paths], None, 1)
    with Journal(Path(folder) / "journal", "key") as journal, closing(results):
        for number, (clip, scan) in enumerate(results, start=1):
            if scan.problem:
                raise DataError(f"a generated clip does not decode: {scan.problem}")
            journal.append({"id": clip, "scan": list(scan)})
            if number % _MEASURED_EVERY == 0:
                own.append(_resident(os.getpid()))
                workers.append(sum(map(_resident, _children())))
    quarter = len(own) // 4
    return {
        "growth_bytes": own[-1] - own[quarter],
        "worker_growth_bytes": workers[-1] - workers[quarter],
        "own_bytes": own,
        "workers_bytes": workers,
    }


def measure_speed(folder: str, rounds: str) -> Record:
    """Clips a second of the check in one worker's thread, and of a loop that only decodes, in turns."""
    from vidrepro.cost.loaders import make_clips
    from vidrepro.data.containers import open_container
    from vidrepro.data.scan.check_clip import ClipFiles, scan_clip

    manifest = make_clips(Path(folder), WHOLE)
    paths = [manifest.root / path for path in manifest.table["path"]]

    def check() -> None:
        for path in paths:
            scan_clip(ClipFiles(path.stem, path))

    def decode() -> None:
        for path in paths:
            with open_container(path) as container:
                container.streams.video[0].codec_context.thread_count = 1
                for _ in container.decode(video=0):
                    pass

    check()
    decode()
    pairs = [(_timed(check), _timed(decode)) for _ in range(int(rounds))]
    return {
        "relative": median(plain / ours for ours, plain in pairs),
        "clips_per_second": WHOLE / median(ours for ours, _ in pairs),
    }


def measure_loader(data: str) -> Record:
    """From nothing to a loader that can name its first batch; and what a worker grows by as it goes through clips."""
    from vidrepro.config import DataConfig
    from vidrepro.data.loading import ClipDataset, make_loader
    from vidrepro.data.manifest import load_manifest

    start, began = time.perf_counter(), time.process_time()
    manifest = load_manifest(_DATASET, Path(data))
    dataset = ClipDataset(manifest, "train", DataConfig.model_validate({}), seed=0, training=True)
    make_loader(dataset, 8, workers=1, shuffle=True)
    seconds, cpu = time.perf_counter() - start, time.process_time() - began
    reader, writer = os.pipe()
    child = os.fork()
    if not child:  # as a loader's worker: it shares this memory, and must not copy it touch by touch
        try:
            before = _unshared()
            rows = dataset._clips
            for index in range(min(20_000, len(rows))):
                _ = str(rows[index].id), str(rows[index].path), int(rows[index].frames)
            os.write(writer, str(_unshared() - before).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        growth = int(answer.read())
    os.waitpid(child, 0)
    return {"seconds": seconds, "cpu_seconds": cpu, "growth_bytes": growth}


def _annotation(clip: str, text: str) -> dict[str, Any]:
    template = text.replace("something", "[something]")
    return {"id": clip, "label": text.lower(), "template": template, "placeholders": ["a thing"]}


def _record(name: str, value: float, unit: str, limit: float | None = None, *, at_least: bool = False) -> Record:
    good = limit is None or (value >= limit if at_least else value <= limit)
    return {"name": name, "value": value, "unit": unit, "limit": limit, "at_least": at_least, "good": good}


def _timed(work: Callable[[], None]) -> float:
    start = time.process_time()  # of this thread's work: a busy machine slows both down, but not in the same second
    work()
    return time.process_time() - start


def _resident(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _children() -> list[int]:
    import multiprocessing

    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


def _unshared() -> int:
    """Bytes of this process that it shares with no other."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_"))


def _apart(what: str, *arguments: object) -> Record:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", __name__, what, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(
            f"the measurement '{what}' failed", given=done.stderr.strip().splitlines()[-1:] or done.returncode
        )
    return json.loads(done.stdout)


if __name__ == "__main__":
    parts: dict[str, Callable[..., Record]] = {
        "join": measure_join,
        "memory": measure_memory,
        "speed": measure_speed,
        "loader": measure_loader,
    }
    print(json.dumps(parts[sys.argv[1]](*sys.argv[2:])))
