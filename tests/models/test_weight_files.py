"""Weights as training code leaves them: wrappers, entries, averages, old and new formats; and files that are none."""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity_tools import read_parity
from safetensors.torch import save_file
from torch import nn

from vidrepro.__main__ import main
from vidrepro.errors import CheckpointError
from vidrepro.models import build_model
from vidrepro.models.released.importing import import_checkpoint
from vidrepro.models.weight_files import read_checkpoint, read_state_dict

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(3)
    state = build_model("micro", "m2a", frames=4, classes=3, width=8).state_dict()
    state["backbone.bn1.num_batches_tracked"].fill_(7)
    return state


@pytest.fixture(scope="module")
def plain() -> State:
    """By torchvision's names, of a backbone alone."""
    return build_resnet().state_dict()


def build_resnet() -> nn.Module:
    import torchvision

    torch.manual_seed(4)
    return torchvision.models.resnet18()


def save(folder: Path, content: Any, name: str = "weights.pth", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


def use(path: Path, **options: Any) -> Any:
    return build_model("micro", "m2a", **{"frames": 4, "classes": 3, "width": 8, "weights": path, **options})


def same(model: nn.Module, state: State) -> bool:
    return all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.",
        "_orig_mod._orig_mod.module._orig_mod.",
        "model.",
        "net.",
        "network.module.",
        "model._orig_mod.",
        "module.model.net.",
    ],
)
def test_wrappers_in_any_order(tmp_path: Path, state: State, prefix: str) -> None:
    model = use(save(tmp_path, prefixed(state, prefix)))
    assert model.load_report.complete and same(model, state)


@pytest.mark.parametrize("prefix", ["model.", "model._orig_mod.", "_orig_mod.", "net.module."])
def test_wrappers_around_a_plain_backbone(tmp_path: Path, plain: State, prefix: str) -> None:
    """``model.`` in front is also how the released I3D names its own tensors; here it is Lightning's."""
    model = build_model("resnet18", "m2a", frames=4, classes=3, weights=save(tmp_path, prefixed(plain, prefix)))
    assert torch.equal(model.state_dict()["backbone.bn1.weight"], plain["bn1.weight"])
    assert len(model.load_report.loaded) == 120


def test_what_torch_itself_writes(tmp_path: Path) -> None:
    """The wrappers' own state dicts, not ones made up."""
    network = build_model("micro", "none", frames=4, classes=3, width=8)
    wanted = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    parts = build_model("micro", "none", frames=4, classes=3, width=8)
    parts.load_state_dict(wanted)
    parts.backbone.layer2 = torch.compile(parts.backbone.layer2)  # not called: nothing is compiled
    for number, saved in enumerate(
        (
            torch.compile(network),
            nn.DataParallel(torch.compile(network)),
            torch.compile(nn.DataParallel(network)),
            torch.optim.swa_utils.AveragedModel(network),
            parts,
        )
    ):
        path = save(tmp_path, saved.state_dict(), f"{number}.pt")
        model = build_model("micro", "none", frames=4, classes=3, width=8, weights=path)
        assert model.load_report is not None and model.load_report.complete and same(model, wanted), number


def test_lightning_keeps_other_things_beside_the_network(tmp_path: Path, state: State) -> None:
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.2.0",
        "state_dict": {**prefixed(state, "model."), "criterion.weight": torch.ones(3), "metric.total": torch.tensor(9)},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}],
        "hyper_parameters": {"lr": 0.1},
    }
    model = use(save(tmp_path, content, "epoch=3.ckpt"))
    assert model.load_report.complete and same(model, state)
    assert model.load_report.entry == "state_dict"
    assert "2 tensors beside" in str(model.load_report)


@pytest.mark.parametrize(
    "entry", ["state_dict", "state_dict_ema", "model_ema", "model", "ema", "model_state_dict", "net"]
)
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_entries(tmp_path: Path, state: State, entry: str, form: str) -> None:
    content = {"epoch": 3, "best_prec1": torch.tensor(71.2), "optimizer": {"state": {}}, entry: state}
    path = save(tmp_path, content, "checkpoint.pth.tar", _use_new_zipfile_serialization=form == "zip")
    model = use(path)
    assert (
        same(model, state)
        and model.load_report.entry == entry
        and f"from its entry '{entry}'" in str(model.load_report)
    )


def test_an_entry_in_an_entry(tmp_path: Path, state: State) -> None:
    model = use(save(tmp_path, {"model": {"state_dict": prefixed(state, "module.")}}))
    assert same(model, state) and model.load_report.entry == "model.state_dict"


def test_of_two_networks_in_a_file_the_trained_one_is_taken_and_said(tmp_path: Path, state: State) -> None:
    averaged = {name: tensor + 1 for name, tensor in state.items()}
    for order in ({"state_dict_ema": averaged, "state_dict": state}, {"model": state, "ema": averaged}):
        report = (model := use(save(tmp_path, order))).load_report
        assert same(model, state)
        assert (report.entry, *report.left_out) in (("state_dict", "state_dict_ema"), ("model", "ema"))
        assert report.left_out[0] in str(report)


def test_the_choice_is_in_the_runs_record(toy_data: Path, tmp_path: Path) -> None:
    from short_runs import MICRO, train_shortly

    torch.manual_seed(0)
    start = build_model("micro", "none", frames=4, classes=2, width=8, stem="small2").state_dict()
    path = save(tmp_path, {"state_dict": start, "state_dict_ema": start})
    folder = train_shortly(tmp_path, toy_data, "toy", MICRO | {"mechanism": "none", "weights": str(path)})
    report = json.loads((folder / "run.json").read_text())["backbone"]["weights_report"]
    assert (report["entry"], report["left_out"]) == ("state_dict", ["state_dict_ema"])


def test_counts_of_batches_may_be_missing(tmp_path: Path, state: State, plain: State) -> None:
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    report = (model := use(save(tmp_path, old))).load_report
    assert report.complete and len(report.loaded) == len(old) and len(report.counted_anew) == len(state) - len(old) > 5
    assert model.state_dict()["backbone.bn1.num_batches_tracked"] == 0
    released = {
        name: tensor
        for name, tensor in read_parity("m2a_mbv2_motion").state_dict.items()
        if not name.endswith("num_batches_tracked")
    }
    assert import_checkpoint(save(tmp_path, released), backbone="mobilenetv2", mechanism="m2a-motion").report.complete


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_safetensors_whatever_the_name(tmp_path: Path, state: State, name: str, kind: torch.dtype) -> None:
    cast = {key: one.to(kind) if one.is_floating_point() else one for key, one in state.items()}
    save_file(prefixed(cast, "module."), tmp_path / name, metadata={"format": "pt"})
    model = use(tmp_path / name)
    assert model.load_report.complete
    assert same(model, {key: tensor.to(state[key].dtype) for key, tensor in cast.items()})


def test_safetensors_are_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    released = {key: one.contiguous() for key, one in read_parity("m2a_mbv2_motion").state_dict.items()}
    save_file(prefixed(released, "model."), tmp_path / "m2a.safetensors")
    words = ["--backbone", "mobilenetv2", "--mechanism", "m2a-motion", "--out", str(tmp_path / "ours.pt"), "--json"]
    with pytest.raises(SystemExit) as end:
        main(["import-checkpoint", str(tmp_path / "m2a.safetensors"), *words])
    assert end.value.code == 0 and json.loads(capsys.readouterr().out)["complete"]
    assert (tmp_path / "ours.pt").is_file()


@pytest.mark.parametrize("prefix", ["model.", "net.module.", "model.model.", "_orig_mod.model."])
def test_a_released_i3d_is_found_in_a_larger_module(tmp_path: Path, prefix: str) -> None:
    """Its own names begin with ``model.`` already."""
    released = read_parity("keys_only/m2a_i3d_r18_motion_attn").state_dict
    path = save(tmp_path, prefixed(released, prefix.removesuffix("model.") if prefix == "model." else prefix))
    options = {"input_layout": "released"}
    assert import_checkpoint(path, backbone="i3d-resnet18", mechanism="m2a", options=options).report.complete


def test_options_and_numpys_numbers_beside_the_weights_do_no_harm(tmp_path: Path, state: State) -> None:
    """As argparse and a best accuracy leave them in most training checkpoints."""
    args = argparse.Namespace(lr=0.1, root=Path("/data"), gpus=None)
    for form in (True, False):
        content = {"args": args, "best": np.float64(71.2), "epoch": np.int64(3), "model": state}
        assert same(use(save(tmp_path, content, _use_new_zipfile_serialization=form)), state)


def test_a_whole_network_that_was_pickled_is_refused_by_its_class(tmp_path: Path) -> None:
    for content in (build_resnet(), {"model": build_resnet(), "epoch": 1}):
        with pytest.raises(
            CheckpointError, match=r"holds 'torchvision\.models\.resnet\.ResNet', which would"
        ) as refusal:
            use(save(tmp_path, content))
        assert "state_dict()" in str(refusal.value.hint)


def test_integers_of_quantised_weights_are_not_cast(tmp_path: Path, state: State) -> None:
    quantised = {key: (one * 100).to(torch.int8) if one.dim() > 1 else one for key, one in state.items()}
    with pytest.raises(CheckpointError, match=r"no plain floating-point numbers(?s:.*)torch\.int8"):
        use(save(tmp_path, quantised))
    sparse = {key: one.to_sparse() if one.dim() > 1 else one for key, one in state.items()}
    with pytest.raises(CheckpointError, match="no plain floating-point numbers"):
        use(save(tmp_path, sparse))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html><html>Google Drive can't scan this file", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "it is a Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "it is an HDF5 file"),
        (b'{"metadata": {}, "weight_map": {"fc.weight": "model-00001.safetensors"}}', "weights in several files"),
        (b'{"id": "run"}', "it is JSON text"),
        (b"\x1f\x8b\x08\x00 cut", "it is a gzip archive"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_weights_is_told_by_what_it_is(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"not a readable checkpoint: .*{says}") as refusal:
        use(path)
    assert refusal.value.hint is not None and str(path) in str(refusal.value)


def test_archives_that_torch_did_not_write(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("frames/1.jpg", b"x")
    with pytest.raises(CheckpointError, match=r"it is an archive of frames/1\.jpg"):
        use(tmp_path / "a.pt")
    np.savez(tmp_path / "scores.npz", logits=np.zeros(3))
    with pytest.raises(CheckpointError, match=r"it is an archive of logits\.npy"):
        use(tmp_path / "scores.npz")
    with pytest.warns(), torch.no_grad():
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "t.pt")
    with pytest.raises(CheckpointError, match="TorchScript program"):
        use(tmp_path / "t.pt")
    with pytest.raises(CheckpointError, match="is a folder"):
        use(tmp_path)


def test_what_was_found_instead_of_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no state dict(?s:.*)optimizer: dict, epoch: int"):
        use(save(tmp_path, {"optimizer": {"state": {}}, "epoch": 3}))


@pytest.mark.parametrize("cut", [5, 9, 200, 2000])
def test_cut_safetensors_are_refused(tmp_path: Path, state: State, cut: int) -> None:
    path = tmp_path / "x.safetensors"
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        read_checkpoint(path)


def test_two_names_that_differ_only_in_a_wrapper_are_kept_apart(tmp_path: Path) -> None:
    state = {"_orig_mod.w": torch.zeros(1), "w": torch.ones(1)}
    assert read_state_dict(save(tmp_path, state)).tensors.keys() == state.keys()
    from vidrepro.models.load_tensors import strip_wrappers

    assert strip_wrappers(state).keys() == state.keys()
