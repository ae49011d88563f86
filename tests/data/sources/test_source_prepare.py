"""``vidrepro prepare`` for official datasets: resumable at any moment, refusing what is not the official dataset."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from folded_datasets import prepare, refused, run_command
from mini import make_frames, make_video

from vidrepro.cli.app import app
from vidrepro.data.frames import probe_video
from vidrepro.data.known import OFFICIAL
from vidrepro.data.sources import prepare as source_prepare
from vidrepro.data.sources.something_something import CLASSES
from vidrepro.errors import ConfigError, ManifestError, UnknownNameError

CLIPS = 12
FRAMES = {str(number): 8 + number % 5 for number in range(1, CLIPS + 1)}


def write_lists(root: Path) -> None:
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    for number in range(1, CLIPS + 1):
        name = CLASSES[number * 7 % 174].replace("something", "[something]")
        row = {"id": str(number), "label": name.lower(), "template": name, "placeholders": []}
        rows["validation" if number % 4 == 0 else "train"].append(row)
    (root / "labels").mkdir(parents=True)
    for name, listed in rows.items():
        (root / "labels" / f"{name}.json").write_text(json.dumps(listed, indent=0))
    (root / "labels" / "labels.json").write_text(json.dumps({name: str(place) for place, name in enumerate(CLASSES)}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of Something-Something V2: 9 training and 3 validation clips of 8 to 12 frames."""
    root = tmp_path / "root"
    write_lists(root)
    for clip, frames in FRAMES.items():
        make_video(root / "20bn-something-something-v2" / f"{clip}.webm", frames)
    return root


def content(folder: Path) -> dict[str, bytes]:
    """What a preparation leaves behind, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def video(root: Path, clip: int) -> Path:
    return root / "20bn-something-something-v2" / f"{clip}.webm"


def test_what_another_process_has_prepared_meanwhile_is_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two looks before the first is done, and gets the folder after it."""
    prepare("ssv2", root, tmp_path / "a")
    cache = tmp_path / "a" / "ssv2" / "cache"
    cache.mkdir()
    looked: list[str] = []

    def existing(folder: Path, info: Any, force: bool) -> Any:
        looked.append(folder.name)
        return None if len(looked) == 1 else look(folder, info, force)

    look = source_prepare._existing
    monkeypatch.setattr(source_prepare, "_existing", existing)
    prepare("ssv2", root, tmp_path / "a")
    assert len(looked) == 2 and cache.is_dir()


def test_nothing_is_written_below_the_root_and_the_result_is_always_the_same(root: Path, tmp_path: Path) -> None:
    before = content(root)
    first = prepare("ssv2", root, tmp_path / "a")
    for data, workers in (("a", "1"), ("b", "3")):
        again = run_command("ssv2", root, tmp_path / data, "--allow-missing", "1", "--workers", workers)
        assert again.exit_code == 0
        assert ("already prepared" in again.stdout) == (data == "a")
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert content(root) == before
    assert dict(zip(first.manifest.table["id"], first.manifest.table["frames"], strict=True)) == FRAMES


def test_what_is_lacking_is_counted_and_refused_beyond_the_fraction(root: Path, tmp_path: Path) -> None:
    video(root, 4).unlink()
    video(root, 7).write_bytes(video(root, 7).read_bytes()[:-30])
    text = refused("ssv2", root, tmp_path / "data", "--allow-missing", "0.5")
    assert "train: 9 usable of 168,913 expected (9 listed, 0 missing, 0 bad)" in text
    assert "validation.json, line 2: clip '4' is missing" in text and "--allow-missing 1" in text
    prepared = prepare("ssv2", root, tmp_path / "data")
    splits = prepared.info["completeness"]["splits"]
    assert splits["train"] == {"expected": 168913, "listed": 9, "ok": 8, "missing": 0, "bad": 1}
    assert splits["val"] == {"expected": 24777, "listed": 3, "ok": 2, "missing": 1, "bad": 0}
    report = json.loads((prepared.data / "ssv2" / "report.json").read_text())
    assert [(one["id"], one["kind"], one["file"]) for one in report["clips"]] == [
        ("7", "bad", "train.json"),
        ("4", "missing", "validation.json"),
    ]
    assert "truncated" in report["clips"][0]["reason"]
    manifest = prepared.manifest
    assert manifest.counts() == {"train": {"ok": 8, "bad": 1}, "val": {"ok": 2, "bad": 0}}
    assert "4" not in set(manifest.table["id"]) and manifest.clip("7").status == "bad"


def test_a_share_that_is_covered_is_accepted(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidrepro.data.sources.ssv2.EXPECTED", {"train": 10, "val": 3})
    monkeypatch.setattr("vidrepro.data.sources.ssv2.EXPECTED_TEST", 0)
    assert "9 usable of 10 expected" in refused("ssv2", root, tmp_path / "data", "--allow-missing", "0.09")
    result = run_command("ssv2", root, tmp_path / "data", "--allow-missing", "0.1")
    assert result.exit_code == 0, result.exception
    (video(root, 1)).write_bytes(b"")  # a bad clip more, found only by decoding
    assert "8 usable of 10" in refused("ssv2", root, tmp_path / "other", "--allow-missing", "0.1")
    make_video(video(root, 1), FRAMES["1"])  # put right: the same command goes on, and looks at this clip again
    result = run_command("ssv2", root, tmp_path / "other", "--allow-missing", "0.1")
    assert result.exit_code == 0, result.exception
    assert (tmp_path / "other/ssv2/manifest.csv").read_bytes() == (tmp_path / "data/ssv2/manifest.csv").read_bytes()


def test_another_class_list_needs_the_whole_fraction(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidrepro.data.sources.ssv2.EXPECTED", {"train": 9, "val": 3})
    labels = {**{name: str(place) for place, name in enumerate(CLASSES)}, "Dancing": "174"}
    (root / "labels" / "labels.json").write_text(json.dumps(labels))
    assert "Dancing" in refused("ssv2", root, tmp_path / "data", "--allow-missing", "0.99")
    assert prepare("ssv2", root, tmp_path / "data").info["completeness"]["classes"]["problems"]


def test_frames_lacking_in_the_middle_make_a_clip_bad(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "20bn-something-something-v2")
    for clip, frames in FRAMES.items():
        make_frames(root / "frames" / clip, frames, "%06d.jpg")
    (root / "frames" / "5" / "000003.jpg").unlink()
    (root / "frames" / "6" / "Thumbs.db").write_bytes(b"x")
    prepared = prepare("ssv2", root, tmp_path / "data")
    clip = prepared.manifest.clip("6")
    assert (clip.frames, clip.pattern, clip.start_index, clip.fps) == (FRAMES["6"], "%06d.jpg", 1, 12.0)
    report = json.loads((prepared.data / "ssv2" / "report.json").read_text())
    assert [one["reason"] for one in report["clips"]] == ["pictures are missing in the middle: 000003.jpg"]
    assert report["stray_files_ignored"] == 1


def test_pictures_of_optical_flow_are_left_out_counted_and_said(root: Path, tmp_path: Path) -> None:
    """As mmaction2's tools leave them: img_, x_ and y_ in one folder."""
    shutil.rmtree(root / "20bn-something-something-v2")
    for clip, frames in FRAMES.items():
        for name in ("img", "x", "y"):
            make_frames(root / "frames" / clip, frames, f"{name}_%05d.jpg")
    result = run_command("ssv2", root, tmp_path / "data", "--allow-missing", "1")
    assert result.exit_code == 0, result.exception
    left_out = 2 * sum(FRAMES.values())
    assert f"{left_out} pictures beside the frames were left out" in result.output
    report = json.loads((tmp_path / "data" / "ssv2" / "report.json").read_text())
    assert report["other_pictures_left_out"] == report["stray_files_ignored"] == left_out
    assert report["clips"] == [] and any("were left out" in note for note in report["notes"])


def test_no_usable_clip_is_no_dataset(root: Path, tmp_path: Path) -> None:
    for clip in FRAMES:
        video(root, int(clip)).write_bytes(b"x")
    assert "no clip of ssv2 can be used" in refused("ssv2", root, tmp_path / "data", "--allow-missing", "1")


def test_other_settings_do_not_replace_a_dataset_silently(root: Path, tmp_path: Path) -> None:
    prepared = prepare("ssv2", root, tmp_path)
    lines = prepared.lines()
    other = run_command("ssv2", root, tmp_path, "--allow-missing", "1", "--reencode", "16")
    assert isinstance(other.exception, ManifestError) and "other settings" in str(other.exception)
    assert "--force" in str(other.exception) and prepared.lines() == lines
    assert prepare("ssv2", root, tmp_path, "--reencode", "16", "--force").info["encoding"]["short_side"] == 16
    assert prepare("ssv2", root, tmp_path, "--force").lines() == lines
    assert not (tmp_path / "ssv2" / "clips").exists()


def test_a_clip_that_changed_is_checked_again(root: Path, tmp_path: Path) -> None:
    prepared = prepare("ssv2", root, tmp_path)
    assert run_command("verify", root, tmp_path).exit_code != 0
    make_video(video(root, 3), 20)
    assert prepare("ssv2", root, tmp_path).manifest.clip("3").frames == 20
    video(root, 3).unlink()
    assert "3" not in set(prepare("ssv2", root, tmp_path).manifest.table["id"])
    assert len(prepared.lines()) == CLIPS


@pytest.mark.parametrize(("option", "side"), [("--reencode", 16), ("--frames", 16)])
def test_copies_are_smaller_and_as_long(option: str, side: int, root: Path, tmp_path: Path) -> None:
    video(root, 7).write_bytes(video(root, 7).read_bytes()[:-30])
    prepared = prepare("ssv2", root, tmp_path / "data", option, str(side), "--quality", "30")
    folder, manifest = tmp_path / "data" / "ssv2", prepared.manifest
    assert prepared.info["root"] == "." and prepared.info["encoding"]["short_side"] == side
    assert prepared.info["encoding"]["quality" if option == "--frames" else "crf"] == 30
    assert manifest.counts()["train"] == {"ok": 8, "bad": 1}
    for row in manifest.table[manifest.table["status"] == "ok"].itertuples():
        assert (row.frames, row.height, row.width) == (FRAMES[row.id], 16, 22 if option == "--reencode" else 21)
        if option == "--reencode":
            assert row.path == f"clips/{row.id}.mp4" and probe_video(folder / row.path).frames == row.frames
    verified = run_verify(tmp_path / "data")
    assert verified.exit_code == 0, verified.output
    before = content(folder)
    next((folder / "clips").rglob("*.mp4" if option == "--reencode" else "*.jpg")).unlink()
    prepare("ssv2", root, tmp_path / "data", option, str(side), "--quality", "30")
    assert content(folder) == before


def run_verify(data: Path) -> Any:
    from typer.testing import CliRunner

    return CliRunner().invoke(app, ["prepare", "verify", "ssv2", "--data", str(data)])


def test_dry_run_estimates_and_writes_nothing(root: Path, tmp_path: Path) -> None:
    before = content(tmp_path)
    for more in ((), ("--reencode", "16"), ("--frames", "16")):
        result = run_command("ssv2", root, tmp_path / "data", "--dry-run", "--json", *more)
        found = json.loads(result.stdout)
        assert (found["clips"], found["sampled"], found["sampled_bad"], found["accepted"]) == (CLIPS, CLIPS, 0, False)
        assert found["seconds"] > 0 and found["counts"]["val"]["listed"] == 3
    text = run_command("ssv2", root, tmp_path / "data", "--dry-run").stdout
    assert "nothing was written" in text and "168,913" in text and "12 of 12 clips tried, 0 of them bad" in text
    assert content(tmp_path) == before and not (tmp_path / "data").exists()


def test_dry_run_foretells_the_size_of_copies(root: Path, tmp_path: Path) -> None:
    result = run_command("ssv2", root, tmp_path / "data", "--dry-run", "--json", "--reencode", "16")
    prepare("ssv2", root, tmp_path / "data", "--reencode", "16")
    copies = sum(path.stat().st_size for path in (tmp_path / "data" / "ssv2" / "clips").rglob("*.mp4"))
    assert 0 <= json.loads(result.stdout)["disk_bytes"] - copies <= 1000 * CLIPS  # the rest is the manifest


def test_what_has_no_meaning_is_refused(root: Path, tmp_path: Path) -> None:
    for words, kind in (
        (["--split", "split2"], UnknownNameError),
        (["--label-order", "backwards"], UnknownNameError),
        (["--preset", "tiny"], ConfigError),
        (["--allow-missing", "1.5"], ConfigError),
        (["--quality", "5"], ConfigError),
        (["--reencode", "256", "--frames", "256"], ConfigError),
    ):
        result = run_command("ssv2", root, tmp_path / "data", *words)
        assert isinstance(result.exception, kind), (words, result.exception)
    assert isinstance(run_command("ssv2", tmp_path / "nowhere", tmp_path / "data").exception, ConfigError)
    assert isinstance(run_command("synthetic", tmp_path / "r", tmp_path / "data", "--dry-run").exception, ConfigError)
    synthetic = run_command("synthetic", tmp_path / "r", tmp_path / "data", "--split", "split1")
    assert isinstance(synthetic.exception, ConfigError)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", OFFICIAL)
def test_help_and_list_say_where_a_dataset_comes_from(name: str) -> None:
    from typer.testing import CliRunner

    from vidrepro.data.sources import find_source

    guide = find_source(name).describe()[0].guide
    assert guide is not None
    shown = CliRunner().invoke(app, ["prepare", name, "--help"])
    listed = CliRunner().invoke(app, ["prepare", "list"])
    for text in (shown.stdout, listed.stdout):
        for part in (guide.page, guide.licence, guide.registration, *guide.files):
            assert part in text
    assert "--allow-missing" in shown.stdout and shown.exit_code == 0


# --- killed at any moment ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("--reencode", "16")])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(more: tuple[str, ...], root: Path, tmp_path: Path) -> None:
    video(root, 7).write_bytes(video(root, 7).read_bytes()[:-30])
    words = [sys.executable, "-m", "vidrepro", "prepare", "ssv2", "--root", str(root), "--workers", "2"]
    words += ["--allow-missing", "1", *more, "--data"]
    start = time.monotonic()
    subprocess.run([*words, str(tmp_path / "whole")], check=True, capture_output=True)
    whole = time.monotonic() - start
    rng = random.Random(0)
    for _ in range(4):
        process = subprocess.Popen(
            [*words, str(tmp_path / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.4, 1.0) * whole)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*words, str(tmp_path / "killed")], check=True, capture_output=True)
    whole_content, killed_content = content(tmp_path / "whole"), content(tmp_path / "killed")
    assert sorted(killed_content) == sorted(whole_content)
    assert killed_content == whole_content


def test_a_refusal_leaves_the_report_of_a_finished_dataset(root: Path, tmp_path: Path) -> None:
    video(root, 3).unlink()
    prepare("ssv2", root, tmp_path / "data")
    folder = tmp_path / "data" / "ssv2"
    before = (folder / "report.json").read_bytes()
    assert run_command("ssv2", root, tmp_path / "data").exit_code != 0
    assert (folder / "report.json").read_bytes() == before
    assert json.loads((folder / "report.refused.json").read_text())["result"] == "refused"
    prepare("ssv2", root, tmp_path / "data", "--force")
    assert not (folder / "report.refused.json").exists()
