"""Importing a released checkpoint file: what it finds, what it writes, and who may read that."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from parity_tools import read_parity

from vidrepro.errors import CheckpointError, ModelError, UnknownNameError
from vidrepro.models import build_mechanism, build_model
from vidrepro.models.released.checkpoints import released_names
from vidrepro.models.released.importing import fitting_mechanisms, import_checkpoint

PARITY = Path(__file__).parents[1] / "parity"
SHARED_KEYS = ["m2a-attention", "m2a-motion", "m2a", "m2a(attention=patch4), or of another patch size"]


@pytest.fixture(scope="module")
def released_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training checkpoint of the released MobileNetV2 with motion, as a data-parallel network was saved."""
    path = tmp_path_factory.mktemp("released") / "ckpt.best.pth.tar"
    state = {f"module.{name}": tensor for name, tensor in read_parity("m2a_mbv2_motion").state_dict.items()}
    torch.save({"epoch": 30, "arch": "mobilenetv2", "state_dict": state}, path)
    return path


@pytest.fixture
def weight_file(released_file: Path, tmp_path: Path) -> Path:
    imported = import_checkpoint(released_file, backbone="mobilenetv2", mechanism="m2a-motion")
    assert imported.report.complete
    imported.write(tmp_path / "m2a.pt")
    return tmp_path / "m2a.pt"


def use(path: Path, mechanism: Any = "m2a-motion", backbone: str = "mobilenetv2", **options: Any) -> Any:
    return build_model(backbone, mechanism, **{"frames": 8, "classes": 174, "weights": path, **options})


def test_what_is_written_is_read_back_whole(weight_file: Path, released_file: Path) -> None:
    content = torch.load(weight_file, weights_only=True)
    record = content["vidrepro_import"]
    assert record["sha256"] == hashlib.sha256(released_file.read_bytes()).hexdigest()
    expected = {"backbone": "mobilenetv2", "mechanism": "m2a-motion", "variant": "official", "frames": 8}
    expected |= {"classes": 174, "source": "m2a", "temporal_shift": False}
    assert {name: record[name] for name in expected} == expected
    assert record["options"]["boundary"] == "zeros"
    model = use(weight_file)
    assert model.load_report.complete
    state = read_parity("m2a_mbv2_motion").state_dict
    for ours, theirs in released_names(model, "m2a").items():
        assert torch.equal(model.state_dict()[ours], state[theirs]), ours


@pytest.mark.parametrize(
    ("arguments", "stored", "asked"),
    [
        ({"mechanism": "m2a-attention"}, "motion=m2a", "motion=none"),
        ({"mechanism": "m2a"}, "attention=none", "attention=m2a"),
        ({"mechanism": "none"}, "m2a(", "mechanism none"),
        ({"mechanism": "tsm"}, "temporal shift False", "temporal shift True"),
        ({"temporal_shift": True}, "temporal shift False", "temporal shift True"),
        ({"boundary": "first"}, "boundary=zeros", "boundary=first"),
        ({"variant": "paper"}, "position=before", "position=after_first_conv"),
        ({"backbone": "resnet18"}, "backbone mobilenetv2", "backbone resnet18"),
        ({"stem": "small"}, "stem=imagenet", "stem=small"),
    ],
)
def test_it_is_refused_in_any_other_network(
    weight_file: Path, arguments: dict[str, Any], stored: str, asked: str
) -> None:
    """The same keys in each of these but two: only the record can tell."""
    with pytest.raises(CheckpointError, match="imported for another") as refusal:
        use(weight_file, **arguments)
    assert stored in str(refusal.value.allowed)
    assert asked in str(refusal.value.given)


def test_the_same_network_under_another_name_is_accepted(weight_file: Path) -> None:
    for same in ("m2a(motion=m2a, attention=none)", {"motion": "m2a", "attention": "none"}):
        assert use(weight_file, same).load_report.complete
    assert use(weight_file, boundary="zeros", frames=16).load_report.complete  # evaluated on more frames
    other_task = use(weight_file, classes=7).load_report
    assert [line.split(":")[0] for line in other_task.wrong_shape] == ["fc.weight", "fc.bias"]


def test_an_i3d_keeps_its_input_layout(tmp_path: Path) -> None:
    """Weights trained on mixed-up clips are not to be fed right ones by accident; how to inflate is no matter."""
    torch.save(read_parity("keys_only/m2a_i3d_r18_motion_attn").state_dict, tmp_path / "i3d.pth")
    options = {"input_layout": "released"}
    imported = import_checkpoint(tmp_path / "i3d.pth", backbone="i3d-resnet18", mechanism="m2a", options=options)
    assert imported.report.complete
    imported.write(tmp_path / "out.pt")
    asked = {"backbone": "i3d-resnet18", "mechanism": "m2a"}
    assert use(tmp_path / "out.pt", **asked, **options, inflation="released").load_report.complete
    with pytest.raises(CheckpointError, match="another backbone options"):
        use(tmp_path / "out.pt", **asked)


@pytest.mark.parametrize(
    ("name", "backbone", "expected"),
    [
        ("m2a_mbv2_motion", "mobilenetv2", SHARED_KEYS),
        ("keys_only/m2a_i3d_r18_attn", "i3d-resnet18", SHARED_KEYS),
        ("m2a_r18_motion_attn", "resnet18", SHARED_KEYS),
        ("keys_only/m2a_mbv2_none", "mobilenetv2", ["none (tsm has the same tensors, under conv.net)"]),
        ("keys_only/m2a_r18_tsm", "resnet18", ["tsm (none has the same tensors, not under conv.net)"]),
        (
            "keys_only/m2a_r18_motion_attn_use_tsm",
            "resnet18",
            [*(f"{name} --temporal-shift" for name in SHARED_KEYS)],
        ),
        ("m2a_r18_tea", "resnet18", ["tea"]),
        ("m2a_r18_tea", "mobilenetv2", []),
    ],
)
def test_mechanisms_that_fit(name: str, backbone: str, expected: list[str]) -> None:
    assert fitting_mechanisms(read_parity(name).state_dict, backbone, 8, 174) == expected


def test_the_mechanism_has_to_be_said(released_file: Path) -> None:
    with pytest.raises(CheckpointError, match="keys do not tell") as refusal:
        import_checkpoint(released_file, backbone="mobilenetv2", mechanism=None)
    for name in ("m2a-attention", "m2a-motion", "m2a", "patch"):
        assert name in str(refusal.value.allowed)
    with pytest.raises(CheckpointError) as refusal:
        import_checkpoint(released_file, backbone="resnet18", mechanism=None)
    assert "no released mechanism on 'resnet18'" in str(refusal.value.allowed)


def test_a_partial_import_is_told_and_holds_only_what_was_loaded(tmp_path: Path) -> None:
    state = read_parity("m2a_mbv2_motion").state_dict
    del state["base_model.features.3.conv.0.0.conv_up.bias"]
    state["base_model.features.5.conv.0.0.conv_down.bias"] = torch.zeros(9)
    state["optimizer_hint"] = torch.zeros(1)
    torch.save(state, tmp_path / "broken.pth")
    imported = import_checkpoint(tmp_path / "broken.pth", backbone="mobilenetv2", mechanism="m2a-motion")
    missing = "backbone.features.3.conv.0.0.mechanism.conv_up.bias"
    misshapen = "backbone.features.5.conv.0.0.mechanism.conv_down.bias"
    assert imported.report.missing == [missing]
    assert imported.report.unexpected == ["optimizer_hint"]
    assert imported.report.wrong_shape == [f"{misshapen}: (9,) in the file, (4,) in the network"]
    assert len(imported.report.loaded) == 352
    assert not {missing, misshapen} & set(imported.tensors)
    imported.write(tmp_path / "part.pt")
    model = use(tmp_path / "part.pt")
    assert sorted(model.load_report.missing) == [missing, misshapen]
    content = torch.load(tmp_path / "part.pt", weights_only=True)
    del content["state_dict"]["backbone.features.0.0.weight"]  # missing though not said at the import
    torch.save(content, tmp_path / "part.pt")
    with pytest.raises(CheckpointError, match="belong to another network"):
        use(tmp_path / "part.pt")


def test_one_module_alone(tmp_path: Path) -> None:
    parity = read_parity("m2a_mod_tdn")
    torch.save({f"module.{name}": tensor for name, tensor in parity.state_dict.items()}, tmp_path / "module.pth")
    imported = import_checkpoint(tmp_path / "module.pth", backbone="none", mechanism="tdn")
    assert imported.report.complete
    assert imported.record["backbone_options"] == {"channels": 64}
    module = build_mechanism("tdn", 64, 8)
    module.load_state_dict(imported.tensors)  # strict: all of them, by our names
    imported.write(tmp_path / "out.pt")
    with pytest.raises(CheckpointError, match="another backbone"):
        use(tmp_path / "out.pt", "tdn")
    with pytest.raises(CheckpointError) as refusal:
        import_checkpoint(tmp_path / "module.pth", backbone="none", mechanism=None)
    assert str(refusal.value.allowed) == "these fit: tdn"


def test_what_cannot_be_imported_is_refused(tmp_path: Path, released_file: Path) -> None:
    known: dict[str, Any] = {"backbone": "mobilenetv2", "mechanism": "m2a"}
    with pytest.raises(UnknownNameError, match="did you mean 'm2a'"):
        import_checkpoint(released_file, **known, source="m2b")
    with pytest.raises(UnknownNameError, match="did you mean 'mobilenetv2'"):
        import_checkpoint(released_file, backbone="mobilenet2", mechanism="m2a")
    with pytest.raises(UnknownNameError, match="boundary"):
        import_checkpoint(released_file, **known, options={"boundry": "first"})
    with pytest.raises(ModelError, match="released code has no network"):
        import_checkpoint(released_file, **known, variant="paper")
    with pytest.raises(CheckpointError, match="not the state dict of one mechanism"):
        import_checkpoint(released_file, backbone="none", mechanism="m2a")
    with pytest.raises(CheckpointError, match="there is no weight file"):
        import_checkpoint(tmp_path / "gone.pth", **known)
    headless = {
        name: tensor
        for name, tensor in read_parity("m2a_mbv2_motion").state_dict.items()
        if not name.startswith("new_fc")
    }
    torch.save(headless, tmp_path / "headless.pth")
    with pytest.raises(CheckpointError, match="number of classes"):
        import_checkpoint(tmp_path / "headless.pth", **known)
    partial = import_checkpoint(tmp_path / "headless.pth", **known, classes=3)
    assert partial.report.missing == ["fc.weight", "fc.bias"]


def test_a_damaged_record_is_refused(weight_file: Path) -> None:
    content = torch.load(weight_file, weights_only=True)
    del content["vidrepro_import"]["options"]
    torch.save(content, weight_file)
    with pytest.raises(CheckpointError, match="record of its import is not readable"):
        use(weight_file)
