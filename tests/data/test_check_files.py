"""Files beside a manifest: those that are as recorded, and those that changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vidrepro.data.manifest import Manifest
from vidrepro.data.verify_files import check_files, require_files
from vidrepro.errors import ManifestError

MakeDataset = Callable[..., Manifest]


def test_files_that_are_as_recorded_pass(make_dataset: MakeDataset) -> None:
    manifest = make_dataset()
    calls: list[tuple[int, int]] = []
    assert check_files(manifest, quick=True) == []
    assert check_files(manifest, quick=False, progress=lambda *done: calls.append(done)) == []
    assert calls == [(i, 5) for i in range(1, 6)]
    require_files(manifest)


def test_files_that_changed_are_found(make_dataset: MakeDataset) -> None:
    manifest = make_dataset(clips=4)
    clips = manifest.root / "clips"
    (clips / "c0.mp4").unlink()
    content = (clips / "c1.mp4").read_bytes()
    (clips / "c1.mp4").write_bytes(content[:-1])
    (clips / "c2.mp4").write_bytes((clips / "c2.mp4").read_bytes() + b"x")
    content = bytearray((clips / "c3.mp4").read_bytes())
    content[500] ^= 1
    (clips / "c3.mp4").write_bytes(content)
    (manifest.root / "pictures" / "img_00007.png").unlink()  # in the middle of the clip

    quick = {problem.clip: (problem.line, problem.problem) for problem in check_files(manifest, quick=True)}
    assert list(quick) == ["c0", "c1", "c2"]
    assert quick["c0"] == (2, "its file is gone")
    assert "shorter than recorded" in quick["c1"][1]
    assert "longer than recorded" in quick["c2"][1]
    slow = {problem.clip: problem.problem for problem in check_files(manifest, quick=False)}
    assert list(slow) == ["c0", "c1", "c2", "c3", "pictures@2"]
    assert "SHA-256" in slow["c3"]
    assert "img_00007.png is gone" in slow["pictures@2"]
    assert check_files(manifest, quick=True, splits=["val"]) == []
    with pytest.raises(ManifestError, match=r"clip 'c0'.*its file is gone \(and 2 more clips\)") as refused:
        require_files(manifest, splits=["train"])
    assert "manifest.csv, line 2" in str(refused.value)


def test_a_missing_end_of_a_sequence_is_found_quickly(make_dataset: MakeDataset) -> None:
    manifest = make_dataset(clips=1)
    (manifest.root / "pictures" / "img_00010.png").unlink()  # 3 + 2 + 5: the clip's last
    assert [problem.problem for problem in check_files(manifest, quick=True)] == ["its picture img_00010.png is gone"]
