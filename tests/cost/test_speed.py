"""The benchmarks' arithmetic and what they compare; never how long anything takes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from vidrepro.config import RunConfig
from vidrepro.cost import loaders, speed
from vidrepro.cost.speed import Options, in_turns, summary
from vidrepro.data.frames import read_video
from vidrepro.data.manifest import Manifest


def test_in_turns_rotates_and_leaves_the_first_round_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = [0.0], []
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])

    def task(name: str, seconds: float) -> speed.Task:
        def work() -> int:
            order.append(name)
            clock[0] += seconds * len(order)
            return 6

        return work

    rates = in_turns({"a": task("a", 1.0), "b": task("b", 2.0)}, rounds=2)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert rates == {"a": [6 / 4, 6 / 5], "b": [6 / (2 * 3), 6 / (2 * 6)]}


def test_summary_compares_round_by_round() -> None:
    """All slow down in the third round; the ratio does not."""
    rates = {"ours": [10.0, 12.0, 2.0], "theirs": [5.0, 6.0, 1.0]}
    ours, theirs = summary(rates, "ours")
    assert (ours["per_second"], ours["relative"]) == (10.0, 1.0)
    assert (theirs["per_second"], theirs["relative"]) == (5.0, 0.5)
    assert theirs["quartiles"] == [1.0, 6.0] and theirs["rounds"] == 3
    assert summary({"one": [4.0]}, "one")[0]["quartiles"] == [4.0, 4.0]


def test_literal_loader_returns_the_same_frames(toy: Manifest) -> None:
    row = toy.clips("train").iloc[3]
    indices = [5, 0, 0, 7]
    ours = read_video(toy.root / row["path"], indices)
    assert np.array_equal(loaders.DecodeEverything(toy).frames(row["id"], indices), ours)


def test_all_loaders_read_the_same_clips(toy: Manifest, toy_config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[torch.Tensor]] = {"": [], "literal": []}
    original = loaders.ClipDataset.sample
    current = [""]

    def recording(dataset: loaders.ClipDataset, index: int, epoch: int) -> dict[str, object]:
        sample = original(dataset, index, epoch)
        seen[current[0]].append(sample["clip"])
        return sample

    monkeypatch.setattr(loaders.ClipDataset, "sample", recording)
    tasks = loaders.loader_tasks(toy, toy_config.data)
    assert set(tasks) == {"vidrepro", "decode everything", "libav decode only", "vidrepro, cached"}
    for _ in range(3):
        for current[0], name in (("", "vidrepro"), ("literal", "decode everything")):
            assert tasks[name]() == loaders.CLIPS_PER_TURN
    assert len(seen[""]) == 3 * loaders.CLIPS_PER_TURN > len(toy.clips("train"))
    assert all(torch.equal(ours, literal) for ours, literal in zip(seen[""], seen["literal"], strict=True))


def test_made_clips_are_like_downloaded_ones(tmp_path: Path) -> None:
    """Key frames only now and then, so that reading a frame means decoding those before it; motion in every frame."""
    manifest = loaders.make_clips(tmp_path / "made", clips=1)
    path = manifest.root / manifest.table["path"][0]
    with av.open(str(path)) as container:
        keys = [frame.key_frame for frame in container.decode(video=0)]
    assert len(keys) == loaders.MADE_FRAMES
    assert [position for position, key in enumerate(keys) if key] == list(range(0, len(keys), loaders.KEY_FRAME_EVERY))
    frames = read_video(path, range(loaders.MADE_FRAMES)).astype(int)
    assert frames.std() > 20 and np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)).min() > 1


def test_loader_benchmark_on_a_prepared_dataset(toy: Manifest, toy_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = SimpleNamespace(data={"frames": 4, "train_size": 24, "eval_short_side": 28, "eval_size": 24})
    monkeypatch.setattr(loaders, "load_preset", lambda name: preset)
    threads = torch.get_num_threads()
    records = speed.measure_loader(Options(rounds=2, dataset="toy", data=toy_data))
    assert torch.get_num_threads() == threads
    assert records[0]["name"] == "vidrepro"
    for record in records:
        assert record["per_second"] > 0 and record["rounds"] == 2 and record["threads"] == 1
        assert (record["dataset"], record["protocol"]) == ("toy", "4x1x1@24")


def test_throughput_benchmark_trains_the_default_rows() -> None:
    records = speed.measure_throughput(Options(rounds=1, preset="tiny", batch=1, device="cpu"))
    names = [record["name"] for record in records]
    assert names == [f"micro {m}" for m in ("none", "m2a-attention", "m2a-motion", "m2a", "none + shift")]
    assert all(record["per_second"] > 0 and record["batch"] == 1 for record in records)
    assert records[0]["relative"] == 1.0


def test_affordable_batch(toy_config: RunConfig) -> None:
    """On the CPU at most `PIXELS_PER_STEP` pixels a step, and at least one clip; elsewhere the preset's batch."""
    large = toy_config.model_copy(
        update={
            "data": toy_config.data.model_copy(update={"frames": 8, "train_size": 224}),
            "train": toy_config.train.model_copy(update={"batch_size": 32}),
        }
    )
    assert speed._affordable_batch(large, torch.device("cpu")) == 2
    assert speed._affordable_batch(large, torch.device("cuda")) == 32
    assert speed._affordable_batch(toy_config, torch.device("cpu")) == toy_config.train.batch_size
