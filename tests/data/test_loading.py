"""Loading real (small) clips: what a sample holds, and that nothing but (seed, epoch, clip id) decides it."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vidrepro.config import DataConfig
from vidrepro.data import augment
from vidrepro.data.cache import open_cache
from vidrepro.data.encode import write_video
from vidrepro.data.frames import read_video
from vidrepro.data.loading import ClipDataset, make_loader
from vidrepro.data.manifest import Manifest, load_manifest, write_manifest
from vidrepro.data.randomness import clip_rng, epoch_order
from vidrepro.errors import ConfigError, DataError, DecodeError, ManifestError, UnknownNameError

CLASSES = ["go left", "go right", "stay"]
WIDTH, HEIGHT = 72, 64
PINNED_STREAM = [2985263372308404508, 16812043727079468623]
CONFIG = DataConfig(frames=8, train_size=48, eval_short_side=56, eval_size=48)
INFO = {"root": ".", "label_order": "as given", "version": "1"}


def moving_picture(seed: int, frames: int = 24) -> np.ndarray:
    """A random coarse picture that drifts and brightens: every frame differs, and from its mirror image too."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 180, (7, 9, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    return np.stack([np.roll(picture, t, axis=1) + np.uint8(3 * t) for t in range(frames)])


def row(clip_id: str, path: str, frames: int, label: int, split: str, **more) -> dict:
    size = {"fps": 12.0, "width": WIDTH, "height": HEIGHT, "bytes": 1, "digest": "0" * 64, "status": "ok"}
    return {"id": clip_id, "path": path, "frames": frames, "label": label, "split": split, **size, **more}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    """13 training clips and 5 for validation, 24 or 30 frames each; one more is bad."""
    folder = tmp_path_factory.mktemp("data") / "tinyset"
    rows = []
    for number in range(18):
        frames = 30 if number % 3 else 24
        name = f"clip{number:02d}"
        write_video(folder / "clips" / f"{name}.mp4", moving_picture(number, frames), 12, crf=10)
        rows.append(row(name, f"clips/{name}.mp4", frames, number % 3, "train" if number < 13 else "val"))
    rows.append(row("lost", "clips/lost.mp4", 24, 0, "train", status="bad"))
    return write_manifest(folder, rows, {**INFO, "name": "tinyset", "classes": CLASSES})


class MemoryCache:
    """What a dataset asks of a `FrameCache`: frames by clip id. Counts the calls."""

    def __init__(self, manifest: Manifest) -> None:
        table = manifest.table[manifest.table["status"] == "ok"]
        self.clips = {
            one.id: read_video(manifest.root / one.path, range(one.frames)) for one in table.itertuples(index=False)
        }
        self.calls: list[str] = []

    def frames(self, clip_id: str, indices: np.ndarray) -> np.ndarray:
        self.calls.append(clip_id)
        return self.clips[clip_id][indices]


@pytest.fixture(scope="module")
def cache(manifest) -> MemoryCache:
    return MemoryCache(manifest)


def training(manifest: Manifest, cache: MemoryCache | None = None, seed: int = 0, **settings) -> ClipDataset:
    config = CONFIG.model_copy(update=settings)
    return ClipDataset(manifest, "train", config, seed=seed, training=True, cache=cache)  # type: ignore[arg-type]


def batches(dataset: ClipDataset, epochs=(0,), **options) -> list[dict[str, torch.Tensor]]:
    options = {"batch_size": 4, "shuffle": True, "seed": 0, **options}
    loader = make_loader(dataset, **options)
    found = []
    for epoch in epochs:
        loader.set_epoch(epoch)
        found += list(loader)
    return found


def assert_same(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys() == {"clip", "label", "index"}
        assert all(torch.equal(one[key], other[key]) for key in one)


# What a sample is


def test_a_training_sample(manifest):
    dataset = training(manifest)
    assert len(dataset) == 13
    assert dataset.ids == [f"clip{number:02d}" for number in range(13)]
    assert dataset.labels.tolist() == [number % 3 for number in range(13)]
    sample = dataset[4]
    assert sample["clip"].shape == (8, 3, 48, 48)
    assert sample["clip"].dtype == torch.uint8
    assert (sample["label"], sample["index"]) == (1, 4)


def test_a_training_sample_is_the_drawn_frames_cropped_and_resized(manifest, cache):
    """The same draws, taken literally: spans of 3 frames (24 / 8), a size, a place; Pillow's pixels."""
    dataset = training(manifest, cache)
    for epoch in range(4):
        generator = clip_rng(0, epoch, "clip03")
        positions = 3 * np.arange(8) + generator.integers(3, size=8)
        box = augment.draw_multi_scale_crop(WIDTH, HEIGHT, 48, (1, 0.875, 0.75, 0.66), 1, generator)
        corners = (box.left, box.top, box.left + box.width, box.top + box.height)
        clip = dataset.sample(3, epoch)["clip"]
        for position, frame in zip(positions, clip, strict=True):
            picture = Image.fromarray(cache.clips["clip03"][position]).crop(corners)
            expected = np.asarray(picture.resize((48, 48), Image.Resampling.BILINEAR)).astype(int)
            assert abs(frame.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1


def test_evaluation_views_are_crop_major_then_clip(manifest):
    config = CONFIG.model_copy(update={"eval_crops": 3, "eval_clips": 2, "eval_sampling": "tsm-test"})
    dataset = ClipDataset(manifest, "val", config, seed=0, training=False)
    clip = dataset[0]["clip"]  # clip13: 30 frames
    assert dataset.ids[0] == "clip13"
    assert clip.shape == (6, 8, 3, 48, 48)
    video = read_video(manifest.root / "clips" / "clip13.mp4", range(30))
    centres = [1, 5, 9, 13, 16, 20, 24, 28]  # int(1.875 + 3.75 k)
    starts = [0, 3, 7, 11, 15, 18, 22, 26]  # int(3.75 k)
    # 72x64 → 63x56; free space 15 by 8, quarters 3 and 2: left, right, centre at the vertical middle
    expected = []
    for left in (0, 12, 6):
        for positions in (centres, starts):
            pictures = [Image.fromarray(video[p]).resize((63, 56), Image.Resampling.BILINEAR) for p in positions]
            expected.append([np.asarray(one.crop((left, 4, left + 48, 52))) for one in pictures])
    difference = clip.permute(0, 1, 3, 4, 2).numpy().astype(int) - np.array(expected).astype(int)
    assert abs(difference).max() <= 1


def test_one_evaluation_view_is_the_centre(manifest, cache):
    config = CONFIG.model_copy(update={"eval_short_side": 64, "train_size": 32})
    dataset = ClipDataset(manifest, "val", config, seed=0, training=False, cache=cache)  # type: ignore[arg-type]
    clip = dataset[2]["clip"]  # clip15: 24 frames, centres 1, 4, ..., 22
    expected = cache.clips["clip15"][1::3, 8:56, 12:60]
    assert clip.shape == (1, 8, 3, 48, 48)
    assert np.array_equal(clip[0].permute(0, 2, 3, 1).numpy(), expected)
    assert torch.equal(dataset.sample(2, 7)["clip"], clip)  # no chance in evaluation


def test_training_with_a_centre_crop(manifest, cache):
    dataset = training(manifest, cache, crop="centre", train_sampling="tsm-val", eval_short_side=64)
    expected = cache.clips["clip00"][1::3, 8:56, 12:60]
    assert np.array_equal(dataset[0]["clip"].permute(0, 2, 3, 1).numpy(), expected)
    with pytest.raises(ConfigError, match="larger than the frames"):
        training(manifest, cache, crop="centre", train_size=60)


def test_training_as_t_cnns(manifest, cache):
    """Consecutive frames made an exact size, then a crop of the network's size anywhere, as Pillow does it."""
    dataset = training(manifest, cache, train_sampling="strided", train_resize=(56, 75), crop="random")
    corners = set()
    for epoch in range(12):
        generator = clip_rng(0, epoch, "clip04")
        start = generator.integers(30 - 8 + 1)
        left, top = generator.integers(75 - 48 + 1), generator.integers(56 - 48 + 1)
        corners.add((left, top))
        for position, frame in zip(range(start, start + 8), dataset.sample(4, epoch)["clip"], strict=True):
            picture = Image.fromarray(cache.clips["clip04"][position]).resize((75, 56), Image.Resampling.BILINEAR)
            expected = np.asarray(picture.crop((left, top, left + 48, top + 48))).astype(int)
            assert abs(frame.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1
    assert len(corners) > 6
    with pytest.raises(DataError, match="smaller than the crop"):
        training(manifest, cache, crop="random", train_size=70)[0]


def test_training_as_the_released_st_abns(manifest, cache):
    """A stretched share of the frames and jittered colours, both the same in every frame of a clip."""
    settings = {"train_sampling": "stabn-release-dense", "crop": "random-resized", "frames": 4}
    dataset = training(manifest, cache, **settings, colour_jitter=(0.125, 0.4, 0.4, 0.05))
    plain = training(manifest, cache, **settings)
    state = torch.get_rng_state()
    for epoch in range(8):
        start = clip_rng(0, epoch, "clip04").integers(30 - 8 + 1)
        generator = clip_rng(0, epoch, "clip04")
        generator.integers(30 - 8 + 1)
        box = augment.draw_resized_crop(WIDTH, HEIGHT, (0.08, 1), (3 / 4, 4 / 3), generator)
        corners = (box.left, box.top, box.left + box.width, box.top + box.height)
        for position, frame in zip(range(start, start + 8, 2), plain.sample(4, epoch)["clip"], strict=True):
            picture = Image.fromarray(cache.clips["clip04"][position]).crop(corners)
            expected = np.asarray(picture.resize((48, 48), Image.Resampling.BILINEAR)).astype(int)
            assert abs(frame.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1
        jittered = dataset.sample(4, epoch)["clip"]
        assert jittered.shape == (4, 3, 48, 48) and not torch.equal(jittered, plain.sample(4, epoch)["clip"])
        assert torch.equal(jittered, dataset.sample(4, epoch)["clip"])
    assert torch.equal(torch.get_rng_state(), state)  # torch's own generator, dropout's, is left where it was


def test_the_stride_reaches_training_and_evaluation(manifest, cache):
    settings = {
        "train_sampling": "strided",
        "eval_sampling": "strided",
        "stride": 3,
        "frames": 4,
        "eval_short_side": 64,
    }
    config = CONFIG.model_copy(update=settings | {"eval_clips": 3})
    views = ClipDataset(manifest, "val", config, seed=0, training=False, cache=cache)[0]["clip"]  # 30 frames, span 10
    expected = np.stack([cache.clips["clip13"][start : start + 10 : 3, 8:56, 12:60] for start in (0, 10, 20)])
    assert np.array_equal(views.permute(0, 1, 3, 4, 2).numpy(), expected)
    clip = training(manifest, cache, **settings, crop="centre")[1]["clip"].permute(0, 2, 3, 1).numpy()
    candidates = [cache.clips["clip01"][start : start + 10 : 3, 8:56, 12:60] for start in range(21)]
    assert any(np.array_equal(clip, candidate) for candidate in candidates)


def test_reading_from_the_cache_or_from_the_videos_is_the_same(manifest):
    cache = open_cache(manifest, "always")
    expected = batches(training(manifest))
    assert_same(expected, batches(training(manifest, cache)))
    assert_same(expected, batches(training(manifest, cache), workers=1, start_method="fork"))


def test_image_sequences(tmp_path):
    """A clip of 4 pictures that begins at the third of a sequence numbered from 1, beside a video."""
    folder = tmp_path / "pictures"
    (folder / "long").mkdir(parents=True)
    for number in range(1, 10):
        Image.new("RGB", (WIDTH, HEIGHT), (20 * number, 0, 0)).save(folder / "long" / f"img_{number:05d}.png")
    write_video(folder / "a.mp4", moving_picture(0), 12, crf=10)
    sequence = {"first_frame": 2, "start_index": 1, "pattern": "img_%05d.png"}
    rows = [row("a", "a.mp4", 24, 0, "train"), row("b", "long", 4, 1, "train", **sequence)]
    prepared = write_manifest(folder, rows, {**INFO, "name": "pictures", "classes": CLASSES})
    dataset = training(prepared, frames=2)
    for epoch in range(6):
        clip = dataset.sample(1, epoch)["clip"]
        reds = [frame[0].unique().tolist() for frame in clip]
        positions = np.array([0, 2]) + clip_rng(0, epoch, "b").integers(2, size=2)
        assert reds == [[20 * (3 + position)] for position in positions]
    assert dataset[0]["clip"].shape == (2, 3, 48, 48)


# Chance


def test_draws_depend_on_seed_epoch_and_clip_only(manifest, cache):
    dataset = training(manifest, cache)
    first = dataset.sample(5, 3)["clip"]
    dataset.set_epoch(3)
    dataset[2]
    assert torch.equal(dataset[5]["clip"], first)
    assert not torch.equal(dataset.sample(5, 4)["clip"], first)
    assert not torch.equal(training(manifest, cache, seed=1).sample(5, 3)["clip"], first)

    # the same clip in another place of another table
    table = manifest.table.iloc[[12, 5, 14]]
    folder = manifest.folder.parent / "fewer"
    fewer = write_manifest(
        folder, table, {**INFO, "name": "fewer", "classes": CLASSES, "root": f"../{manifest.folder.name}"}
    )
    assert torch.equal(training(fewer).sample(1, 3)["clip"], first)


def test_global_generators_play_no_part(manifest, cache):
    dataset = training(manifest, cache)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    first = batches(dataset)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert_same(first, batches(dataset))


def test_the_stream_of_a_clip_does_not_change_between_versions():
    """Pinned: a change here silently makes every recorded run another one. PCG64's raw stream is fixed by NumPy."""
    assert clip_rng(0, 0, "clip00").bit_generator.random_raw(2).tolist() == PINNED_STREAM
    keys = [(0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b"), (0, 1, "1/a"), (0, 11, "a")]
    assert len({clip_rng(*key).bit_generator.random_raw() for key in keys}) == len(keys)


def test_an_epochs_order_is_a_permutation_that_changes():
    orders = [epoch_order(seed, epoch, 200).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(200)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert epoch_order(0, 1, 200).tolist() == orders[1]


def test_flip_swap_mirrors_pixels_and_label_together(manifest, cache):
    plain, swap = training(manifest, cache), training(manifest, cache, flip="swap")
    always = training(manifest, cache, flip="always")
    partner = {0: 1, 1: 0, 2: 2}
    mirrored = 0
    for index in range(len(plain)):
        for epoch in range(10):
            kept, swapped, flipped = (one.sample(index, epoch) for one in (plain, swap, always))
            assert torch.equal(swapped["clip"], flipped["clip"])
            assert flipped["label"] == kept["label"]
            if torch.equal(kept["clip"], swapped["clip"]):
                assert swapped["label"] == kept["label"]
            else:
                mirrored += 1
                assert torch.equal(kept["clip"].flip(-1), swapped["clip"])
                assert swapped["label"] == partner[kept["label"]]
    assert 40 <= mirrored <= 90  # of 130


def test_evaluation_never_flips(manifest, cache):
    views = [
        ClipDataset(manifest, "val", CONFIG.model_copy(update={"flip": flip}), seed=0, training=False, cache=cache)  # type: ignore[arg-type]
        for flip in ("none", "always")
    ]
    for index in range(5):
        assert torch.equal(views[0][index]["clip"], views[1][index]["clip"])


# Loading


def test_every_clip_comes_once_an_epoch_in_the_epochs_order(manifest, cache):
    found = batches(training(manifest, cache), epochs=(2,))
    assert [len(one["label"]) for one in found] == [4, 4, 4, 1]
    assert found[0]["clip"].shape == (4, 8, 3, 48, 48)
    assert {key: value.dtype for key, value in found[0].items()} == {
        "clip": torch.uint8,
        "label": torch.int64,
        "index": torch.int64,
    }
    indices = torch.cat([one["index"] for one in found]).tolist()
    assert indices == epoch_order(0, 2, 13).tolist()
    assert torch.cat([one["label"] for one in found]).tolist() == [index % 3 for index in indices]
    dataset = training(manifest, cache)
    for one in found:
        for clip, index in zip(one["clip"], one["index"].tolist(), strict=True):
            assert torch.equal(clip, dataset.sample(index, 2)["clip"])


def test_incomplete_batches_can_be_dropped(manifest, cache):
    dataset = training(manifest, cache)
    loader = make_loader(dataset, 4, shuffle=False, drop_last=True)
    assert len(loader) == 3
    assert [one["index"].tolist() for one in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert len(make_loader(dataset, 4)) == 4


@pytest.mark.parametrize(("workers", "start_method"), [(2, "fork"), pytest.param(1, "spawn", marks=pytest.mark.slow)])
def test_workers_change_nothing(manifest, workers, start_method):
    """Three epochs through workers that live on, their order not the loader's: the epoch reaches them."""
    epochs = (0, 1, 5)
    dataset = training(manifest, flip="swap")
    expected = batches(dataset, epochs)
    assert_same(expected, batches(dataset, epochs, workers=workers, start_method=start_method))


def test_evaluation_batches_through_workers(manifest):
    config = CONFIG.model_copy(update={"eval_crops": 3})
    dataset = ClipDataset(manifest, "val", config, seed=0, training=False)
    expected = batches(dataset, batch_size=2, shuffle=False)
    assert expected[0]["clip"].shape == (2, 3, 8, 3, 48, 48)
    assert_same(expected, batches(dataset, batch_size=2, shuffle=False, workers=2, start_method="fork"))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_resumed_within(manifest, cache, workers):
    dataset = training(manifest, cache)
    whole = batches(dataset, epochs=(1,))
    cache.calls.clear()
    loader = make_loader(dataset, 4, shuffle=True, epoch=1, start_batch=2, workers=workers)
    assert_same(whole[2:], list(loader))
    if not workers:
        assert len(cache.calls) == 5  # nothing is loaded to be thrown away
    loader.set_epoch(1)
    assert_same(whole, list(loader))
    loader.set_epoch(1, start_batch=4)
    assert list(loader) == []
    with pytest.raises(ConfigError, match="no such batch"):
        loader.set_epoch(1, start_batch=5)


def test_an_abandoned_epoch_does_not_leak_into_the_next(manifest):
    dataset = training(manifest)
    loader = make_loader(dataset, 2, workers=2, shuffle=True)
    next(iter(loader))
    loader.set_epoch(1)
    assert_same(batches(dataset, (1,), batch_size=2), list(loader))


# Refusals


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("is_training", [True, False])
def test_a_clip_that_does_not_decode_is_an_error_that_names_it(manifest, tmp_path, workers, is_training):
    folder = tmp_path / "tinyset"
    shutil.copytree(manifest.folder, folder)
    damaged = load_manifest("tinyset", tmp_path)
    file = Path(damaged.root) / "clips" / ("clip07.mp4" if is_training else "clip16.mp4")
    file.write_bytes(file.read_bytes()[:400])
    dataset = ClipDataset(damaged, "train" if is_training else "val", CONFIG, seed=0, training=is_training)
    with pytest.raises(DecodeError) as caught:
        batches(dataset, workers=workers)
    assert file.name in str(caught.value.where)
    assert "Traceback" not in str(caught.value)  # the refusal itself, not a worker's report of it


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("is_training", [True, False])
def test_whatever_goes_wrong_with_a_clip_names_it(manifest, monkeypatch, workers, is_training):
    """In reading, where the frames are another size; in what follows, where anything may be raised."""
    dataset = ClipDataset(manifest, "train" if is_training else "val", CONFIG, seed=0, training=is_training)
    named = dataset.ids[3]

    def fail(frames, *arguments):
        raise RuntimeError("no memory for this")

    monkeypatch.setattr("vidrepro.data.loading.augment.resize_short_side", fail)
    monkeypatch.setattr("vidrepro.data.loading.augment.crop_and_resize", fail)
    dataset._clips = dataset._clips[3:4]
    with pytest.raises(DataError, match=f"clip '{named}' cannot be read") as caught:
        batches(dataset, workers=workers, batch_size=1)
    assert named in str(caught.value.where) and "no memory for this" in str(caught.value.given)
    dataset._clips["height"] += 2
    with pytest.raises(ManifestError, match=f"clip '{named}' decodes to another size") as caught:
        batches(dataset, workers=workers, batch_size=1)
    assert "prepare the dataset again" in caught.value.hint


def test_frames_too_small_to_be_cropped_are_told_with_their_clip(manifest, cache, monkeypatch):
    dataset = training(manifest, cache)
    monkeypatch.setattr(cache, "frames", lambda clip, positions: np.zeros((len(positions), 1, 1, 3), np.uint8))
    with pytest.raises(DataError, match=f"clip '{dataset.ids[0]}': the frames are too small") as caught:
        dataset.sample(0, 0)
    assert str(manifest.root) in str(caught.value.where)


class SlowDataset(ClipDataset):
    """A decoder that hangs."""

    def sample(self, index: int, epoch: int) -> dict:
        time.sleep(2)
        return super().sample(index, epoch)


def test_a_hanging_worker_is_reported(manifest):
    dataset = SlowDataset(manifest, "train", CONFIG, seed=0, training=True)
    with pytest.raises(DataError, match="no batch arrived within 1 seconds"):
        list(make_loader(dataset, 1, workers=1, timeout=1))


def test_wrong_requests_are_refused(manifest, cache, tmp_path):
    with pytest.raises(DataError, match="no usable clip in split 'test'"):
        ClipDataset(manifest, "test", CONFIG, seed=0, training=False)
    with pytest.raises(UnknownNameError, match="split"):
        ClipDataset(manifest, "trian", CONFIG, seed=0, training=False)
    dataset = training(manifest, cache)
    for numbers in ({"batch_size": 0}, {"batch_size": 4, "workers": -1}):
        with pytest.raises(ConfigError, match="positive batch size"):
            make_loader(dataset, **numbers)
    with pytest.raises(ConfigError, match="fewer clips than one batch"):
        make_loader(dataset, 14, drop_last=True)
    with pytest.raises(ConfigError, match="no such batch"):
        make_loader(dataset, 4, start_batch=9)
    plain = write_manifest(
        tmp_path / "plain",
        manifest.table,
        {**INFO, "name": "plain", "classes": ["up", "down", "stay"], "root": str(manifest.folder)},
    )
    with pytest.raises(ConfigError, match="there are none"):
        training(plain, flip="swap")


def test_workers_copy_no_python_objects(manifest):
    """Strings of every clip in each worker are what makes host memory grow (pytorch #13246)."""
    assert not training(manifest)._clips.dtype.hasobject
