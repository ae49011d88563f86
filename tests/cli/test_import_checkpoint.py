"""``vidrepro import-checkpoint`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from parity_tools import read_parity

from vidrepro.__main__ import main
from vidrepro.models import build_model

COMMAND = ["import-checkpoint", "--source", "m2a", "--backbone", "mobilenetv2"]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("released") / "m2a.pth"
    torch.save({f"module.{k}": v for k, v in read_parity("m2a_mbv2_motion").state_dict.items()}, path)
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([*COMMAND, *map(str, arguments)])
    return int(end.value.code or 0)


def one_line(text: str) -> str:
    """A panel's text without its frame."""
    return " ".join(text.replace("│", " ").split())


def test_a_full_match_is_written(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "m2a.pt"
    assert run(released, "--mechanism", "m2a-motion", "--out", out) == 0
    text = capsys.readouterr().out
    for line in ("loaded: 354", "missing: 0", "unexpected: 0", "wrong shape: 0", f"8 frames: {out}"):
        assert line in text
    model = build_model("mobilenetv2", "m2a-motion", frames=8, classes=174, weights=out)
    assert model.load_report is not None
    assert model.load_report.complete


def test_json_lists_every_key(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The released network in a TSM network of the same backbone: ten convolutions have another name."""
    out = tmp_path / "tsm.pt"
    assert run(released, "--mechanism", "tsm", "--out", out, "--json") == 2
    streams = capsys.readouterr()
    told = json.loads(streams.out)
    assert told["complete"] is False
    assert told["out"] is None
    assert not out.exists()
    assert told["counts"] == {"loaded": 304, "missing": 10, "unexpected": 50, "wrong_shape": 0, "unused": 0}
    assert "backbone.features.3.conv.0.0.conv.weight" in told["missing"]
    assert "base_model.features.3.conv.0.0.conv_down.weight" in told["unexpected"]
    assert len(told["loaded"]) == 304
    assert "not the state dict of tsm on mobilenetv2" in one_line(streams.err)
    assert run(released, "--mechanism", "tsm", "--out", out, "--json", "--allow-partial") == 0
    assert json.loads(capsys.readouterr().out)["out"] == str(out)
    assert len(torch.load(out, weights_only=True)["state_dict"]) == 304


def test_without_a_mechanism_it_says_which_fit(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(released, "--out", tmp_path / "x.pt") == 2
    text = one_line(capsys.readouterr().err)
    assert "the mechanism has to be said" in text
    assert "these fit: m2a-attention; m2a-motion; m2a; m2a(attention=patch4), or of another patch size" in text
    assert not (tmp_path / "x.pt").exists()


def test_options_are_stored(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "first.pt"
    assert run(released, "--mechanism", "m2a-motion", "--set", "boundary=first", "--frames", 16, "--out", out) == 0
    record = torch.load(out, weights_only=True)["vidrepro_import"]
    assert record["options"]["boundary"] == "first"
    assert record["frames"] == 16
    assert run(released, "--mechanism", "m2a-motion", "--set", "boundary", "--out", out) == 2
    assert "key=value" in capsys.readouterr().err


def test_the_released_file_is_never_overwritten(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = released.read_bytes()
    assert run(released, "--mechanism", "m2a-motion", "--out", released) == 2
    assert "would overwrite the released file" in one_line(capsys.readouterr().err)
    assert released.read_bytes() == before
