"""Preparing the embedded dataset: the same for any workers, resumable at any moment, never silently replaced."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from vidrepro.cli.prepare import prepare as prepare_command
from vidrepro.data.frames import probe_video, read_clip
from vidrepro.data.known import OFFICIAL, SOURCES
from vidrepro.data.manifest import Journal, Manifest, load_manifest
from vidrepro.data.sources import describe_all, find_source
from vidrepro.data.sources.contract import Options
from vidrepro.data.sources.synthetic import PreparationInterrupted, prepare_synthetic
from vidrepro.data.synthetic.generator import render_clip
from vidrepro.data.synthetic.ground_truth import load_annotations
from vidrepro.data.synthetic.presets import PRESETS
from vidrepro.data.verify_files import check_files
from vidrepro.errors import ConfigError, DataError, ManifestError, ResultsError, UnknownNameError, VidreproError

TOY = replace(PRESETS["tiny"], clips=(("train", 4), ("val", 1)), side=32)  # 40 clips
TOTAL = 40
SMALLER_TOY = replace(TOY, clips=(("train", 1), ("val", 1)))  # 16 clips
LARGER_TOY = replace(TOY, clips=(("train", 8), ("val", 2)))  # 80 clips
LARGER_TOTAL = 80

SCRIPT = """
import sys
import time
from dataclasses import replace
from pathlib import Path
from vidrepro.data.sources.synthetic import PreparationInterrupted, prepare_synthetic
from vidrepro.data.synthetic.presets import PRESETS

if __name__ == "__main__":
    toy = replace(PRESETS["tiny"], clips=(("train", 8), ("val", 2)), side=32)
    pause = lambda done, _: time.sleep(done > 16)  # a second a clip: so that it is not done before it is killed
    try:
        prepare_synthetic(Path(sys.argv[1]), toy, workers=int(sys.argv[2]), progress=pause)
    except PreparationInterrupted as interruption:
        print(interruption, file=sys.stderr)
        sys.exit(130)
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The toy dataset, made by this process alone; not to be changed."""
    return prepare_synthetic(tmp_path_factory.mktemp("data"), TOY, workers=1)


@pytest.fixture(scope="module")
def larger_prepared(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The larger one, in one go; not to be changed."""
    return prepare_synthetic(tmp_path_factory.mktemp("larger"), LARGER_TOY, workers=1)


@pytest.fixture
def small(tmp_path: Path, small_prepared: Manifest) -> Path:
    """A data folder with the smaller toy dataset, to be damaged."""
    shutil.copytree(small_prepared.folder, tmp_path / "data" / "synthetic")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def small_prepared(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The smaller one; not to be changed."""
    return prepare_synthetic(tmp_path_factory.mktemp("small"), SMALLER_TOY, workers=1)


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_manifest_tells_what_lies_there(prepared: Manifest) -> None:
    assert prepared.counts() == {"train": {"ok": 32, "bad": 0}, "val": {"ok": 8, "bad": 0}}
    assert prepared.classes == sorted(prepared.classes) and len(prepared.classes) == 8
    assert prepared.info["order_blind_ceiling"] == 0.5
    assert prepared.info["preset"] == "tiny" and prepared.info["seed"] == 0
    assert check_files(prepared, quick=False) == []
    for row in prepared.table.itertuples():
        video = probe_video(prepared.root / row.path)
        assert (video.frames, video.width, video.height, video.fps) == (row.frames, 32, 32, 12)
    first, second = (prepared.classes[label] for label in prepared.info["reversal_pairs"][0])
    assert {first, second} in [set(pair) for pair in TOY.pairs]


def test_a_clip_on_disk_is_what_the_generator_draws(prepared: Manifest) -> None:
    clip = prepared.clip("train-000007")
    drawn = render_clip(prepared.classes[clip.label], clip.id, TOY, seed=0)
    decoded = read_clip(prepared, clip, range(clip.frames))
    assert np.abs(decoded.astype(int) - drawn.frames).mean() < 10  # H.264 at half the colour resolution
    known = load_annotations(prepared.root / "annotations" / f"{clip.id}.npz")
    np.testing.assert_array_equal(known.masks, drawn.annotations.masks)


def test_any_number_of_workers_makes_the_same_dataset(prepared: Manifest, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    manifest = prepare_synthetic(tmp_path, TOY, workers=2, progress=lambda *report: reports.append(report))
    assert manifest.table.equals(prepared.table)
    assert manifest.fingerprint == prepared.fingerprint
    assert reports[0] == (0, TOTAL) and reports[-1] == (TOTAL, TOTAL) and reports == sorted(reports)
    for path in (prepared.root / "annotations").iterdir():
        assert path.read_bytes() == (tmp_path / "synthetic" / "annotations" / path.name).read_bytes()


def test_another_seed_or_version_is_another_dataset(
    prepared: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = prepare_synthetic(tmp_path / "seed", TOY, seed=1, workers=1)
    assert not set(other.table["digest"]) & set(prepared.table["digest"])
    monkeypatch.setattr("vidrepro.data.synthetic.draws.GENERATOR_VERSION", "other")
    monkeypatch.setattr("vidrepro.data.sources.synthetic.GENERATOR_VERSION", "other")
    version = prepare_synthetic(tmp_path / "version", TOY, workers=1)
    assert version.info["version"] == "other"
    assert len({manifest.fingerprint for manifest in (prepared, other, version)}) == 3


def test_a_second_call_says_so_and_touches_nothing(tmp_path: Path) -> None:
    first = prepare_synthetic(tmp_path, TOY, workers=1)
    before = stamps(tmp_path)
    said: list[str] = []
    second = prepare_synthetic(tmp_path, TOY, workers=1, say=said.append)
    assert second.fingerprint == first.fingerprint
    assert stamps(tmp_path) == before
    assert "already prepared" in said[0]


def test_clips_that_are_gone_or_cut_short_are_made_good(prepared: Manifest, tmp_path: Path) -> None:
    prepare_synthetic(tmp_path, TOY, workers=1)
    folder = tmp_path / "synthetic"
    before = stamps(folder)
    (folder / "clips" / "train-000003.mp4").unlink()
    cut = folder / "clips" / "train-000005.mp4"
    cut.write_bytes(cut.read_bytes()[:100])
    (folder / "annotations" / "val-000002.npz").unlink()
    manifest = prepare_synthetic(tmp_path, TOY, workers=1)
    assert manifest.fingerprint == prepared.fingerprint
    assert check_files(manifest, quick=False) == []
    after = stamps(folder)
    rewritten = {name for name in after if after[name] != before[name] and name.endswith(("mp4", "npz"))}
    stems = {name.split(".")[0] for name in rewritten}
    assert stems == {"train-000003", "train-000005", "val-000002"}


def test_other_settings_are_refused_and_force_replaces(tmp_path: Path) -> None:
    first = prepare_synthetic(tmp_path, TOY, workers=1)
    mine = tmp_path / "synthetic" / "notes.txt"
    mine.write_text("of the user")
    before = stamps(tmp_path)
    with pytest.raises(ManifestError, match="other settings") as refusal:
        prepare_synthetic(tmp_path, TOY, seed=1, workers=1)
    assert "--force" in str(refusal.value) and first.fingerprint in str(refusal.value)
    assert refusal.value.given == "seed 1" and str(refusal.value.allowed).startswith("seed 0: ")
    assert TOY.contrast != 0.4
    with pytest.raises(ManifestError) as refusal:
        prepare_synthetic(tmp_path, replace(TOY, contrast=0.4), workers=1)
    assert refusal.value.given == "contrast 0.4"
    assert stamps(tmp_path) == before
    second = prepare_synthetic(tmp_path, SMALLER_TOY, seed=1, workers=1, force=True)
    assert second.fingerprint != first.fingerprint
    assert len(list((tmp_path / "synthetic" / "clips").iterdir())) == 16  # nothing of the old one stays
    assert mine.read_text() == "of the user"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("manifest.csv", ""),
        ("manifest.csv", "id,path,frames\n"),
        ("manifest.csv", None),  # cut short in the middle of its last line
        ("dataset.json", "{"),
        ("dataset.json", "[]"),
        ("dataset.json", '{"name": "synthetic"}'),
        ("dataset.json", None),
    ],
)
def test_a_damaged_manifest_is_refused_and_force_replaces_it(
    small: Path, small_prepared: Manifest, file: str, content: str | None
) -> None:
    path = small / "synthetic" / file
    path.write_text(path.read_text()[:-30] if content is None else content)
    before = stamps(small)
    with pytest.raises(ManifestError, match=file) as refusal:
        prepare_synthetic(small, SMALLER_TOY, workers=1)
    assert str(refusal.value.hint).endswith("vidrepro prepare synthetic --force")
    assert stamps(small) == before
    again = prepare_synthetic(small, SMALLER_TOY, workers=1, force=True)
    assert again.fingerprint == small_prepared.fingerprint
    assert check_files(again, quick=False) == []


@pytest.mark.parametrize("damaged", [False, True])
def test_force_removes_the_clips_elsewhere_and_nothing_that_is_not_ours(tmp_path: Path, damaged: bool) -> None:
    data, large = tmp_path / "data", tmp_path / "large"
    prepare_synthetic(data, SMALLER_TOY, workers=1, root=large)
    ours = files_below(large)
    assert len(ours) == 32
    if damaged:
        (data / "synthetic" / "manifest.csv").write_text("")
    mine = [
        "other.txt",
        "synthetic/notes.txt",
        "synthetic/clips/holiday.mp4",
        "synthetic/clips/train-000000.txt",
        "synthetic/clips/train-000000-sharp copy.mp4",
        "synthetic/clips/best/train-000000.mp4",
    ]
    for name in mine:
        (large / name).parent.mkdir(parents=True, exist_ok=True)
        (large / name).write_text("of the user")
    second = prepare_synthetic(data, SMALLER_TOY, seed=1, workers=1, force=True)
    assert second.root == data / "synthetic" and check_files(second, quick=False) == []
    assert files_below(large) == sorted(mine)


def test_force_removes_the_emptied_folder_of_the_dataset_and_not_its_parent(tmp_path: Path) -> None:
    prepare_synthetic(tmp_path / "data", SMALLER_TOY, workers=1, root=tmp_path / "large")
    prepare_synthetic(tmp_path / "data", SMALLER_TOY, workers=1, force=True)
    assert list((tmp_path / "large").iterdir()) == []


def test_force_removes_nothing_from_a_root_that_was_not_prepared_as_one(small: Path, tmp_path: Path) -> None:
    """A dataset.json may name any folder, and a new root may hold anything."""
    for folder in ("archive", "large/synthetic"):
        (tmp_path / folder / "clips").mkdir(parents=True)
        (tmp_path / folder / "clips" / "train-000099.mp4").write_text("of the user")
    path = small / "synthetic" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"root": str(tmp_path / "archive")}))
    prepare_synthetic(small, SMALLER_TOY, workers=1, root=tmp_path / "large", force=True)
    for folder in ("archive", "large/synthetic"):
        assert (tmp_path / folder / "clips" / "train-000099.mp4").read_text() == "of the user"


def test_force_waits_for_nobody_and_spoils_nobodys_work(small: Path) -> None:
    with Journal(small / "synthetic", "of another process"):
        before = stamps(small)
        with pytest.raises(ManifestError, match="another process is preparing"):
            prepare_synthetic(small, SMALLER_TOY, seed=1, workers=1, force=True)
        assert stamps(small) == before


@pytest.mark.parametrize("limit", [0, 200, 6000])
def test_a_full_disk_is_told_and_the_same_call_goes_on_later(
    tmp_path: Path, small_prepared: Manifest, full_disk: Callable[[int], AbstractContextManager[None]], limit: int
) -> None:
    with full_disk(limit), pytest.raises(ResultsError, match="cannot write"):
        prepare_synthetic(tmp_path, SMALLER_TOY, workers=1)
    left = set(files_below(tmp_path / "synthetic")) - {".journal.jsonl", ".prepare.lock"}
    assert all(name.startswith("annotations/train-") for name in left)  # no clip, and nothing half-written
    assert prepare_synthetic(tmp_path, SMALLER_TOY, workers=1).fingerprint == small_prepared.fingerprint


def test_root_moves_the_clips_elsewhere(prepared: Manifest, tmp_path: Path) -> None:
    manifest = prepare_synthetic(tmp_path / "data", TOY, workers=1, root=tmp_path / "large")
    assert manifest.root == tmp_path / "large" / "synthetic"
    assert manifest.fingerprint == prepared.fingerprint
    assert check_files(manifest, quick=False) == []
    assert not (tmp_path / "data" / "synthetic" / "clips").exists()


def test_ctrl_c_keeps_what_is_done(prepared: Manifest, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 11:
            raise KeyboardInterrupt

    with pytest.raises(PreparationInterrupted, match="11 of 40 clips are done; the same command") as interruption:
        prepare_synthetic(tmp_path, TOY, workers=1, progress=stop)
    assert (interruption.value.done, interruption.value.total) == (11, 40)
    with pytest.raises(ManifestError, match="not finished"):
        load_manifest("synthetic", tmp_path)
    before = stamps(tmp_path)
    damaged = tmp_path / "synthetic" / "clips" / "train-000002.mp4"
    content = bytearray(damaged.read_bytes())
    content[-10] ^= 1
    damaged.write_bytes(content)
    (damaged.parent / ".train-000011-torn.mp4").write_bytes(b"half")
    reports: list[int] = []
    manifest = prepare_synthetic(tmp_path, TOY, workers=1, progress=lambda done, _: reports.append(done))
    assert reports[0] == 10  # the damaged one is made again, the others are kept
    assert manifest.fingerprint == prepared.fingerprint
    assert check_files(manifest, quick=False) == []
    after = stamps(tmp_path)
    kept = [name for name in before if name.endswith(".mp4") and name != damaged.name]
    assert len(kept) == 10 and all(after[name] == before[name] for name in kept)
    assert not list(damaged.parent.glob(".*"))


def wait_for_rows(journal: Path, rows: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") <= rows:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.005)


@pytest.mark.parametrize("killer", ["SIGKILL", "SIGINT"])
def test_a_killed_process_leaves_nothing_half_done(killer: str, tmp_path: Path, larger_prepared: Manifest) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), "2"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    wait_for_rows(tmp_path / "synthetic" / ".journal.jsonl", 16, process)
    if killer == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process gets it
    else:
        process.kill()
    _, errors = process.communicate(timeout=60)  # the workers hold stderr: this ends when all of them have
    assert process.returncode == (130 if killer == "SIGINT" else -signal.SIGKILL)
    assert "Traceback" not in errors
    if killer == "SIGINT":
        assert f"of {LARGER_TOTAL} clips are done; the same command" in errors
    assert not (tmp_path / "synthetic" / "manifest.csv").exists()
    reports: list[int] = []
    manifest = prepare_synthetic(tmp_path, LARGER_TOY, workers=1, progress=lambda done, _: reports.append(done))
    assert 16 <= reports[0] < LARGER_TOTAL
    assert check_files(manifest, quick=False) == []
    assert manifest.fingerprint == larger_prepared.fingerprint


def test_a_worker_that_dies_is_reported(tmp_path: Path) -> None:
    def shoot(done: int, _: int) -> None:
        if done:
            multiprocessing.active_children()[0].kill()

    with pytest.raises(DataError, match="worker process") as failure:
        prepare_synthetic(tmp_path, LARGER_TOY, workers=2, progress=shoot)
    assert "--workers 1" in str(failure.value)
    assert not (tmp_path / "synthetic" / "manifest.csv").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot write"):
        prepare_synthetic(tmp_path / "file", TOY, workers=1)


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="huge"):
        prepare_synthetic(tmp_path, "huge")
    with pytest.raises(ConfigError, match="seed"):
        prepare_synthetic(tmp_path, TOY, seed=-1)
    with pytest.raises(ConfigError, match="workers"):
        prepare_synthetic(tmp_path, TOY, workers=0)
    with pytest.raises(ConfigError, match="is preset 'small'"):
        find_source("synthetic-small").prepare(Options(tmp_path, "synthetic-small", preset="full"))
    assert list(tmp_path.iterdir()) == []


def test_sources_are_found_by_name_and_unknown_ones_refused() -> None:
    assert {entry.name for entry in describe_all()} == set(SOURCES)
    with pytest.raises(UnknownNameError) as refusal:
        find_source("synthetik")
    assert "did you mean 'synthetic'" in str(refusal.value)
    for name in OFFICIAL:
        assert [entry.name for entry in find_source(name).describe()] == [name]


# --- the command ---------------------------------------------------------------------------------------------------

app = typer.Typer()
app.command()(prepare_command)


def call(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def toy_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TOY)


@pytest.mark.usefixtures("toy_preset")
def test_the_command_prepares_and_verifies(prepared: Manifest, tmp_path: Path) -> None:
    made = call("synthetic", "--data", tmp_path, "--workers", 1, "--json")
    summary = json.loads(made.stdout)
    assert summary["fingerprint"] == prepared.fingerprint
    assert summary["counts"] == prepared.counts() and summary["order_blind_ceiling"] == 0.5
    again = call("synthetic", "--data", tmp_path, "--workers", 1)
    assert again.exit_code == 0
    assert "already prepared" in again.stdout and "50.0 %" in again.stdout and prepared.fingerprint in again.stdout
    assert "all as recorded" in call("verify", "synthetic", "--data", tmp_path).stdout
    clip = tmp_path / "synthetic" / "clips" / "train-000001.mp4"
    content = bytearray(clip.read_bytes())
    content[len(content) // 2] ^= 1
    clip.write_bytes(content)
    checked = call("verify", "synthetic", "--data", tmp_path)
    assert checked.exit_code == 1
    assert "train-000001" in checked.stdout and "SHA-256" in checked.stdout
    checked = call("verify", "synthetic", "--data", tmp_path, "--json")
    assert checked.exit_code == 1
    assert [problem["id"] for problem in json.loads(checked.stdout)["problems"]] == ["train-000001"]


def test_the_command_lists_what_can_be_prepared() -> None:
    text = call("list").stdout
    assert "synthetic-full" in text and "no download" in text
    assert all(f"vidrepro prepare {name} --root" in text for name in OFFICIAL)
    listed = json.loads(call("list", "--json").stdout)
    assert {entry["name"] for entry in listed["can be prepared"]} == set(SOURCES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ssv2"], "made from a download of yours"),
        (["ssv7"], "unknown dataset 'ssv7'"),
        (["synthetic", "--preset", "medium"], "unknown preset"),
        (["verify", "synthetic"], "is not prepared"),
    ],
)
def test_the_command_refuses_what_it_does_not_know(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = call(*arguments, "--data", tmp_path)
    assert isinstance(result.exception, VidreproError)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["verify"], ["synthetic", "small"], ["synthetic", "--workers", "0"]])
def test_a_wrong_call_is_a_usage_error(arguments: list[str], tmp_path: Path) -> None:
    result = call(*arguments, "--data", tmp_path)
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_the_command_with_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Manifest:
        raise PreparationInterrupted(7, 40)

    monkeypatch.setattr("vidrepro.data.sources.synthetic.prepare_synthetic", interrupted)
    result = call("synthetic", "--data", tmp_path)
    assert result.exit_code == 130
    assert "7 of 40 clips are done; the same command goes on from there" in result.stderr
