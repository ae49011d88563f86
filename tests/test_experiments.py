"""From names to run configs: papers, tables and rows are found, selected and resolved, presets and datasets chosen."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vidrepro.ablation.setting import select_setting
from vidrepro.errors import ConfigError, ModelError, UnknownNameError
from vidrepro.experiments import (
    Paper,
    choose_dataset,
    default_preset,
    find_row,
    known_datasets,
    load_paper,
    load_preset,
    paper_names,
    preset_names,
    resolve_row,
    select_rows,
)


@pytest.fixture
def m2a() -> Paper:
    return load_paper("m2a")


@pytest.mark.parametrize("name", ["I", "i", "1", 1, "table1", "Table I", "tab. 1"])
def test_a_table_has_many_names(m2a: Paper, name: str | int) -> None:
    assert m2a.table(name).id == "I"


@pytest.mark.parametrize("name", ["VII", "0", "table", "first", "", "1.5", "IIIIII"])
def test_an_unknown_table_is_refused(m2a: Paper, name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown table of m2a") as error:
        m2a.table(name)
    assert "I, II, III, IV, V, VI" in str(error.value)


def test_unknown_names_come_with_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="'m2a'"):
        load_paper("m2b")
    with pytest.raises(UnknownNameError, match="'tiny'"):
        load_preset("tinny")
    with pytest.raises(UnknownNameError, match="m2a/table1/m2a-motion") as error:
        find_row("m2a/table1/m2a-motoin")
    assert "vidrepro show m2a" in str(error.value)
    with pytest.raises(UnknownNameError, match="m2a/table2/m2a"):
        find_row("m2b/table2/m2a")
    assert find_row("m2a/II/none").id == "m2a/table2/none"
    assert {"aia", "m2a"} <= set(paper_names())
    assert {"paper", "tiny"} <= set(preset_names())


def test_later_layers_win(m2a: Paper) -> None:
    """Table, row, preset, --backbone, --set: each changes what the one before left."""
    row = m2a.row("m2a/table5/tsm")
    assert row.model == {"backbone": "resnet18", "variant": "official", "mechanism": "none", "temporal_shift": True}
    tiny = resolve_row(row, dataset="synthetic", preset="tiny")
    assert (tiny.model.backbone, tiny.model.weights, tiny.dataset) == ("micro", None, "synthetic")
    assert tiny.model.temporal_shift
    asked = resolve_row(row, dataset="synthetic", preset="tiny", backbone="resnet18")
    assert asked.model.backbone == "resnet18"  # what is asked for is not replaced
    assert asked.model.backbone_options == load_preset("tiny").backbone_options["resnet18"]
    overrides = ["model.backbone=mobilenetv2", "train.epochs=3", "model.backbone_options.width=0.5"]
    overridden = resolve_row(row, dataset="synthetic", preset="tiny", backbone="resnet18", overrides=overrides)
    assert overridden.model.backbone == "mobilenetv2"
    assert overridden.model.backbone_options == load_preset("tiny").backbone_options["mobilenetv2"] | {"width": 0.5}
    assert overridden.train.epochs == 3
    assert overridden.data == tiny.data
    assert len({config.fingerprint for config in (tiny, asked, overridden)}) == 3


def test_every_fault_in_an_override_is_reported(m2a: Paper) -> None:
    with pytest.raises(ConfigError) as error:
        resolve_row(
            m2a.row("m2a/table1/none"),
            dataset="synthetic",
            preset="tiny",
            overrides=["train.epoch=3", "data.framez=4"],
        )
    assert "did you mean epochs" in str(error.value)
    assert "did you mean frames" in str(error.value)


def test_rows_are_selected(m2a: Paper) -> None:
    def names(**choice: str) -> list[str]:
        return [row.id.removeprefix("m2a/") for row in select_rows(m2a, **choice)]  # type: ignore[arg-type]

    ablation = ["none", "m2a-attention", "m2a-motion", "m2a"]
    table1, table2 = ([f"table{number}/{name}" for name in ablation] for number in (1, 2))
    assert names() == [*table1, "table5/tsm"]
    assert names(tables="I,2") == [*table1, *table2]
    assert names(tables="1, table1, I") == table1
    assert names(backbone="mobilenetv2") == table2
    assert names(backbone="i3d-resnet18") == [f"table3/{name}" for name in ablation]
    assert names(backbone="resnet18") == [*table1, "table5/tsm"]
    assert names(backbone="resnet50") == [*table1, "table5/tsm"]
    assert names(tables="I", backbone="mobilenetv2") == table1
    assert names(rows="none,tsm, M2A + TSM") == ["table1/none", "table5/tsm", "table5/m2a-tsm"]
    assert names(rows="m2a", tables="II") == ["table2/m2a"]
    assert names(rows="m2a/table2/none") == ["table2/none"]
    with pytest.raises(UnknownNameError, match="m2a-motion"):
        names(rows="m2a-motoin")
    with pytest.raises(UnknownNameError, match="unknown row"):
        names(rows="tsm", tables="I")


def test_the_dataset_is_chosen_and_the_choice_explained(m2a: Paper, tmp_path: Path) -> None:
    choice = choose_dataset("auto", m2a, tmp_path)
    assert choice.name == "synthetic"
    assert "ssv1" in choice.reason and "not prepared" in choice.reason and "not comparable" in choice.reason
    (tmp_path / "ssv1").mkdir()
    (tmp_path / "ssv1" / "manifest.csv").touch()
    choice = choose_dataset("auto", m2a, tmp_path)
    assert choice.name == "ssv1"
    assert "not comparable" not in choice.reason
    choice = choose_dataset("synthetic", m2a, tmp_path)
    assert choice.name == "synthetic"
    assert "not comparable" in choice.reason
    with pytest.raises(UnknownNameError, match="'synthetic'"):
        choose_dataset("syntetic", m2a, tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.csv").touch()
    assert choose_dataset("mine", m2a, tmp_path).name == "mine"
    assert "mine" in known_datasets(tmp_path)


def test_presets_belong_to_datasets(tmp_path: Path) -> None:
    assert default_preset("synthetic") == "tiny"
    assert default_preset("ssv1") == "paper"
    setting = select_setting("m2a", dataset="auto", preset=None, backbone=None, overrides=[], data=tmp_path)
    assert (setting.dataset, setting.preset) == ("synthetic", "tiny")
    assert setting.resolve("m2a/table1/m2a").model.backbone == "micro"


def test_a_mechanism_of_ones_own_is_a_row(m2a: Paper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rows_module.py").write_text("from torch import nn\n\nclass Mine(nn.Identity):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = "own_rows_module:Mine"
    none, own = select_rows(m2a, rows=f"none,{mine}")
    assert (none.own, own.own, own.id, own.label) == (False, True, f"m2a/table1/{mine}", "Mine")
    assert set(own.printed.values()) == {None}
    assert select_rows(m2a, rows=mine, backbone="mobilenetv2")[0].model["backbone"] == "mobilenetv2"
    assert select_rows(m2a, "VI,V", mine)[0].table == "V"  # VI has no place for one
    assert [row.name for row in select_rows(m2a, rows="m2a(motion=tea, attention=tam),none")] == [
        "m2a(motion=tea, attention=tam)",
        "none",
    ]
    with pytest.raises(ConfigError, match="no place for a mechanism of your own"):
        select_rows(m2a, "VI", mine)
    config = resolve_row(m2a.row(own.id), dataset="synthetic", preset="tiny")
    expected = hashlib.sha256((tmp_path / "own_rows_module.py").read_bytes()).hexdigest()
    assert (config.model.mechanism, config.model.mechanism_digest) == (mine, expected)
    other = config.model_copy(update={"model": config.model.model_copy(update={"mechanism_digest": "0" * 64})})
    assert other.fingerprint != config.fingerprint
    with pytest.raises(ModelError, match="cannot be imported"):
        resolve_row(m2a.row("m2a/table1/nowhere_at_all:Mine"), dataset="synthetic", preset="tiny")


def test_the_digest_changes_no_other_identity(m2a: Paper) -> None:
    """The fingerprint of settings without it is that of the settings as they were before there was such a key."""
    from vidrepro.config import LATER_SETTINGS
    from vidrepro.files import fingerprint

    config = resolve_row(m2a.row("m2a/table1/m2a"), dataset="ssv1", preset="paper")
    settings = config.model_dump(mode="json")
    assert settings["model"].pop("mechanism_digest") is None
    del settings["model"]["weights_digest"]
    for section, keys in LATER_SETTINGS.items():
        for later in keys:
            del settings[section][later]
    assert fingerprint(settings)[:12] == config.fingerprint
