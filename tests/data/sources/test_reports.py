"""report.json stays small, and says which clips are turned; an earlier version's dataset is checked again."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from folded_datasets import prepare, run_command
from mini import SIZE, make_frames, video_bytes
from PIL import Image
from typer.testing import CliRunner

from vidrepro.cli.app import app
from vidrepro.data.manifest import load_manifest
from vidrepro.data.sources.completeness import REPORTED, Completeness, Lost, write_report
from vidrepro.data.sources.official import Annotations, Entry


def annotations(count: int) -> Annotations:
    return Annotations(
        classes=("a",),
        label_order="as listed",
        version="1",
        entries=tuple(Entry(str(one), "train", 0, str(one), (Path("x.csv"), one + 1)) for one in range(count)),
    )


def report_of(folder: Path, missing: int, result: str = "prepared", **more: object) -> dict[str, Any]:
    listed = annotations(REPORTED + 500)
    lost = [Lost(entry, "missing", "no file") for entry in listed.entries[:missing]]
    path = write_report(folder, Completeness("toy", listed, None, 1.0, lost), result, more)
    return json.loads(path.read_text())


def test_long_lists_lie_beside_the_report(tmp_path: Path) -> None:
    assert len(report_of(tmp_path, REPORTED)["clips"]) == REPORTED
    turned = {str(number): "turned by 180 degrees" for number in range(REPORTED + 3)}
    report = report_of(tmp_path, REPORTED + 1, second_setting=["7"], turned_clips=turned)
    assert report["clips"] == {"count": REPORTED + 1, "file": "report.clips.json"}
    assert report["turned_clips"] == {"count": REPORTED + 3, "file": "report.turned_clips.json"}
    assert report["second_setting"] == ["7"]
    clips = json.loads((tmp_path / "report.clips.json").read_text())
    assert [one["id"] for one in clips] == [str(number) for number in range(REPORTED + 1)]
    assert (clips[0]["file"], clips[0]["line"]) == ("x.csv", 1)
    assert json.loads((tmp_path / "report.turned_clips.json").read_text()) == turned
    assert (tmp_path / "report.json").stat().st_size < 4000
    report_of(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json"]


def test_a_refusals_lists_leave_those_of_a_finished_dataset_alone(tmp_path: Path) -> None:
    report_of(tmp_path, REPORTED + 1)
    (tmp_path / "manifest.csv").touch()
    before = (tmp_path / "report.clips.json").read_bytes()
    assert report_of(tmp_path, REPORTED + 9, "refused")["clips"]["file"] == "report.refused.clips.json"
    assert (tmp_path / "report.clips.json").read_bytes() == before
    report_of(tmp_path, REPORTED + 1)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["report.clips.json", "report.json"]


ONE = 1 << 16


def phone_video(matrix: tuple[int, int, int, int]) -> bytes:
    """A clip with a display matrix (a, b, c, d) in its track header."""
    content = bytearray(video_bytes(".mp4"))
    place = content.index(b"tkhd") + 44
    a, b, c, d = matrix
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return bytes(content)


CLOCKWISE, HALF, ASKEW = (0, ONE, -ONE, 0), (-ONE, 0, 0, -ONE), (46341, 46341, -46341, 46341)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """UCF101's first list with four clips, of which three are to be turned."""
    root = tmp_path / "root"
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    names = [f"v_Archery_g0{group}_c01" for group in range(1, 5)]
    (lists / "classInd.txt").write_text("1 Archery\n")
    folder = root / "UCF-101" / "Archery"
    folder.mkdir(parents=True)
    for fold in (1, 2, 3):
        (lists / f"trainlist0{fold}.txt").write_text("".join(f"Archery/{name}.avi 1\n" for name in names[:3]))
        (lists / f"testlist0{fold}.txt").write_text(f"Archery/{names[3]}.avi\n")
    (folder / f"{names[0]}.avi").write_bytes(video_bytes(".avi"))
    for name, matrix in zip(names[1:], (CLOCKWISE, HALF, ASKEW), strict=True):
        (folder / f"{name}.avi").write_bytes(phone_video(matrix))
    return root


@pytest.mark.parametrize("copies", [(), ("--reencode", "16"), ("--frames", "16")])
def test_turned_clips_are_counted_and_said(root: Path, tmp_path: Path, copies: tuple[str, ...]) -> None:
    manifest = prepare("ucf101", root, tmp_path / "data", *copies).manifest
    report = json.loads((manifest.folder / "report.json").read_text())
    askew = "marked as turned by 45 degrees clockwise, left as stored"
    assert report["turned"] == {"turned by 90 degrees clockwise": 1, "turned by 180 degrees": 1, askew: 1}
    assert sorted(report["turned_clips"].values()) == sorted(report["turned"])
    wide = manifest.table["width"] > manifest.table["height"]
    assert wide.tolist() == [True, False, True, True]
    again = run_command("ucf101", root, tmp_path / "data", "--allow-missing", "1", *copies)
    assert "already prepared" in again.stdout and "1 clips are turned by 180 degrees" in again.stdout
    assert json.loads((manifest.folder / "report.json").read_text()) == report


def test_a_dataset_of_an_earlier_version_is_checked_again(root: Path, tmp_path: Path) -> None:
    new = prepare("ucf101", root, tmp_path / "data").manifest
    info = json.loads((new.folder / "dataset.json").read_text())
    del info["reading"], info["turned"]
    (new.folder / "dataset.json").write_text(json.dumps(info))
    rows = (new.folder / "manifest.csv").read_text()
    (new.folder / "manifest.csv").write_text(rows.replace(f",{SIZE[1]},{SIZE[0]},", f",{SIZE[0]},{SIZE[1]},"))
    old = load_manifest("ucf101", tmp_path / "data")
    assert set(old.table["width"]) == {SIZE[0]} and old.fingerprint != new.fingerprint
    verified = CliRunner().invoke(app, ["prepare", "verify", "ucf101", "--data", str(tmp_path / "data")])
    assert verified.exit_code and "prepare the dataset again" in f"{verified.output} {verified.exception}"
    again = run_command("ucf101", root, tmp_path / "data", "--allow-missing", "1")
    assert again.exit_code == 0 and "earlier version" in again.stdout
    assert load_manifest("ucf101", tmp_path / "data").fingerprint == new.fingerprint


def test_turned_pictures_are_counted_too(root: Path, tmp_path: Path) -> None:
    """Frames of another tool, with EXIF's word for a quarter turn."""
    for video in (root / "UCF-101" / "Archery").glob("*.avi"):
        video.unlink()
        make_frames(video.with_suffix(""), 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    for picture in (root / "UCF-101" / "Archery" / "v_Archery_g01_c01").iterdir():
        Image.open(picture).save(picture, exif=exif)
    manifest = prepare("ucf101", root, tmp_path / "data").manifest
    report = json.loads((manifest.folder / "report.json").read_text())
    assert report["turned"] == {"turned by 90 degrees clockwise": 1}
    assert (manifest.table["width"] < manifest.table["height"]).tolist() == [True, False, False, False]
