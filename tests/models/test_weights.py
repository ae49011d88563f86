"""Weights to start from: layouts, the report, and files that must be refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from parity_tools import read_parity

from vidrepro.errors import CheckpointError, ModelError
from vidrepro.models import build_model


class Evil:
    """Unpickled carelessly, creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.trace}'",)


@pytest.fixture(scope="module")
def plain_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return torchvision.models.resnet18().state_dict()


def save(folder: Path, content: object, **options: Any) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path, **options)
    return path


def build(path: Path | str, mechanism: str = "none", backbone: str = "resnet18", **options: Any) -> Any:
    return build_model(backbone, mechanism, frames=4, classes=7, weights=path, **options)


@pytest.mark.parametrize("wrap", ["plain", "module.", "base_model.", "module.base_model."])
@pytest.mark.parametrize("nested", [False, True])
def test_a_plain_backbone_fits_every_mechanism(
    tmp_path: Path, plain_state: dict[str, torch.Tensor], wrap: str, nested: bool
) -> None:
    prefix = "" if wrap == "plain" else wrap
    renamed = {prefix + name: tensor for name, tensor in plain_state.items()}
    if nested and "base_model." in wrap:  # the released layout calls its head new_fc, outside base_model
        renamed = {name.replace("base_model.fc", "new_fc"): tensor for name, tensor in renamed.items()}
    path = save(tmp_path, {"state_dict": renamed, "epoch": 3} if nested else renamed)
    model = build(path, "m2a", variant="paper" if nested else "official")
    loaded = model.state_dict()
    assert torch.equal(loaded["backbone.layer3.1.conv1.conv.weight"], plain_state["layer3.1.conv1.weight"])
    assert torch.equal(loaded["backbone.bn1.running_var"], plain_state["bn1.running_var"])
    report = model.load_report
    assert len(report.loaded) == 120
    assert len([name for name in report.missing if ".mechanism." in name]) == 8 * 4
    assert {name for name in report.missing if ".mechanism." not in name} <= {"fc.weight", "fc.bias"}
    assert torch.count_nonzero(loaded["fc.bias"]) == 0  # the head stays new


def test_mobilenet_in_both_namings(tmp_path: Path) -> None:
    theirs = torchvision.models.mobilenet_v2().state_dict()
    features = {name: tensor for name, tensor in theirs.items() if name.startswith("features.")}
    model = build(save(tmp_path, features), "m2a", "mobilenetv2")
    assert len(model.load_report.loaded) == 312
    flat = {
        name.removeprefix("base_model."): tensor
        for name, tensor in read_parity("keys_only/m2a_mbv2_none").state_dict.items()
        if not name.startswith("new_fc")
    }
    flat["classifier.weight"] = torch.zeros(1000, 1280)
    older = build(save(tmp_path, flat), "m2a", "mobilenetv2")
    assert len(older.load_report.loaded) == 312
    assert torch.equal(older.state_dict()["backbone.features.5.conv.0.0.conv.weight"], flat["features.5.conv.0.weight"])


def test_a_released_network_with_its_mechanism_loads_whole(tmp_path: Path) -> None:
    state = read_parity("m2a_r18_motion_attn").state_dict
    path = save(tmp_path, {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}})
    model = build_model("resnet18", "m2a", frames=8, classes=174, weights=path)
    assert model.load_report is not None
    assert model.load_report.complete
    other_task = build(path, "m2a")  # 7 classes: the head, and nothing else, stays new
    assert [line.split(":")[0] for line in other_task.load_report.wrong_shape] == ["fc.weight", "fc.bias"]
    assert not other_task.load_report.missing


def test_our_own_checkpoint_loads_whole_or_as_a_backbone(tmp_path: Path) -> None:
    options: dict[str, Any] = {"backbone": "micro", "width": 8}
    trained = build_model("micro", "m2a", frames=4, classes=7, width=8)
    path = save(tmp_path, {"model": trained.state_dict(), "epoch": 1})
    again = build(path, "m2a", **options)
    assert again.load_report.complete
    assert all(torch.equal(tensor, trained.state_dict()[name]) for name, tensor in again.state_dict().items())
    plain = build_model("micro", "none", frames=4, classes=7, width=8)
    path = save(tmp_path, plain.state_dict())
    grown = build(path, "m2a", **options)
    assert all(".mechanism." in name for name in grown.load_report.missing)
    assert torch.equal(grown.state_dict()["fc.weight"], plain.state_dict()["fc.weight"])


@pytest.mark.parametrize("fault", ["missing", "unexpected", "wrong_shape"])
def test_anything_missing_but_the_head_is_refused(
    tmp_path: Path, plain_state: dict[str, torch.Tensor], fault: str
) -> None:
    state = dict(plain_state)
    if fault == "missing":
        del state["layer2.0.bn1.bias"]
    elif fault == "unexpected":
        state["layer5.0.conv1.weight"] = torch.zeros(1)
    else:
        state["layer2.0.bn1.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match="belong to another network") as refusal:
        build(save(tmp_path, state))
    assert {"missing": "1 missing", "unexpected": "layer5.0.conv1.weight", "wrong_shape": "(3,) in the file"}[
        fault
    ] in str(refusal.value)


@pytest.mark.parametrize(
    ("backbone", "options"), [("resnet50", {}), ("mobilenetv2", {}), ("resnet18", {"width": 32}), ("micro", {})]
)
def test_another_architecture_is_refused(
    tmp_path: Path, plain_state: dict[str, torch.Tensor], backbone: str, options: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match="belong to another network"):
        build(save(tmp_path, plain_state), backbone=backbone, **options)


def test_half_a_mechanism_is_refused(tmp_path: Path) -> None:
    state = build_model("micro", "m2a", frames=4, classes=7, width=8).state_dict()
    del state["backbone.layer1.0.conv1.mechanism.conv_up.bias"]
    with pytest.raises(CheckpointError, match="belong to another network"):
        build(save(tmp_path, state), "m2a", "micro", width=8)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle-0", "pickle-2", "pickle-4"])
def test_a_pickle_that_would_execute_code_is_refused_by_name(tmp_path: Path, form: str) -> None:
    trace, path = tmp_path / "executed", tmp_path / "evil.pth"
    content = {"state_dict": {"conv1.weight": torch.zeros(1)}, "extra": Evil(trace)}
    if form in ("zip", "legacy"):
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    else:
        path.write_bytes(pickle.dumps({"extra": Evil(trace)}, protocol=int(form[-1])))
    with pytest.raises(CheckpointError, match=r"'(posix|nt)\.system', which would execute code"):
        build(path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all" * 50, pickle.dumps([1, 2]), b"PK\x03\x04broken"])
def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as refusal:
        build(path)
    assert str(path) in str(refusal.value)
    problem = refusal.value.problem
    assert len(problem) < 150 and not problem.rstrip("'")[-1].isdigit()  # in words, not torch's error as it stands


def test_a_truncated_checkpoint_is_refused(tmp_path: Path, plain_state: dict[str, torch.Tensor]) -> None:
    path = save(tmp_path, plain_state)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        build(path)


@pytest.mark.parametrize("content", [[1, 2, 3], {}, {"state_dict": {}}, {"a": 1}])
def test_checkpoints_without_a_network_are_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(CheckpointError, match="state dict"):
        build(save(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no weight file '.*gone\.pth'"):
        build(tmp_path / "gone.pth")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def refuse(*arguments: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_imagenet_offline_names_the_file_and_its_place(offline: Path) -> None:
    with pytest.raises(CheckpointError) as refusal:
        build("imagenet", "m2a")
    text = str(refusal.value)
    assert str(offline / "resnet18-f37072fd.pth") in text
    assert "--weights FILE" in text


def test_imagenet_weights_placed_by_hand_are_used(offline: Path, plain_state: dict[str, torch.Tensor]) -> None:
    offline.mkdir(parents=True)
    torch.save(plain_state, offline / "resnet18-f37072fd.pth")
    model = build("imagenet", "m2a")
    assert torch.equal(model.state_dict()["backbone.conv1.weight"], plain_state["conv1.weight"])
    assert len(model.load_report.loaded) == 120


@pytest.mark.parametrize(
    ("backbone", "options", "says"),
    [
        ("resnet18", {"width": 32}, "width=64"),
        ("resnet18", {"stem": "small"}, "stem=imagenet"),
        ("mobilenetv2", {"width": 0.5}, "width=1.0"),
        ("micro", {}, "no ImageNet weights for backbone 'micro'"),
    ],
)
def test_imagenet_weights_need_torchvisions_network(backbone: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        build("imagenet", backbone=backbone, **options)
