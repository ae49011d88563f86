from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

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
    read_paper,
    resolve_row,
    select_rows,
    select_setting,
)

# Retyped from the paper's pages, not copied from printed.yaml: (table, row, column, number).
SPOT_VALUES = [
    ("I", "None", "gmacs_per_video", 14.57),
    ("I", "M2A-Attention", "top1", 16.9),
    ("I", "M2A-Motion", "top5", 56.7),
    ("I", "M2A-Motion", "printed_delta_top5", 17),
    ("I", "M2A", "gmacs_per_video", 14.81),
    ("I", "M2A", "printed_delta_top1", 20),
    ("II", "None", "top5", 37.8),
    ("II", "M2A-Attention", "printed_delta_top1", -0.5),
    ("II", "M2A", "top1", 35.6),
    ("III", "None", "gmacs_per_video", 22.52),
    ("III", "M2A-Attention", "top5", 54.1),
    ("III", "M2A", "printed_delta_top5", 0),
    ("IV", "S+T Patch (s=8)", "top1", 34.2),
    ("IV", "TAM", "top1", 31.6),
    ("V", "M2A + TSM", "top1", 39.3),
    ("V", "TSM", "top1", 39.0),
    ("V", "TDN", "gmacs_per_video", 15.13),
    ("V", "TEA", "top1", 34.3),
    ("VI", "TDN-Motion", "attention_tam", 25.3),
    ("VI", "TEA-Motion", "attention_none", 34.3),
    ("VI", "M2A-Motion", "printed_delta_attention_m2a", 17.8),
]


@pytest.fixture
def m2a() -> Paper:
    return load_paper("m2a")


@pytest.fixture
def copy(m2a: Paper, tmp_path: Path) -> Path:
    """A copy of M2A's folder to damage."""
    return Path(shutil.copytree(m2a.folder, tmp_path / "m2a"))


@pytest.mark.parametrize(("table", "row", "column", "number"), SPOT_VALUES)
def test_printed_numbers_are_the_papers(m2a: Paper, table: str, row: str, column: str, number: float) -> None:
    assert m2a.table(table).printed.row(row)[column] == number


def test_numbers_printed_in_two_tables_agree(m2a: Paper) -> None:
    top1 = {table.id: {row.label: row.printed.get("top1") for row in table.rows} for table in m2a.tables}
    combined = {label: m2a.table("VI").printed.row(label) for label in m2a.table("VI").printed.labels}
    assert top1["V"]["M2A"] == top1["I"]["M2A"] == top1["IV"]["M2A-Attention"]
    assert [combined["None"][f"attention_{name}"] for name in ("none", "m2a")] == [
        top1["I"]["None"],
        top1["I"]["M2A-Attention"],
    ]
    assert combined["M2A-Motion"]["attention_m2a"] == top1["I"]["M2A"]
    assert [top1["V"][name] for name in ("TEA", "TDN", "TAM")] == [
        combined["TEA-Motion"]["attention_none"],
        combined["TDN-Motion"]["attention_none"],
        combined["None"]["attention_tam"],
    ]


def test_printed_differences_follow_from_the_printed_accuracies(m2a: Paper) -> None:
    differences = 0
    for printed in (table.printed for table in m2a.tables):
        for row in map(printed.row, printed.labels):
            for name, delta in row.items():
                if name.startswith("printed_delta_") and delta is not None:
                    column = name.removeprefix("printed_delta_")
                    base = printed.row("None")[column]
                    assert abs(float(row[column]) - float(base) - float(delta)) < 1  # type: ignore[arg-type]
                    differences += 1
    assert differences == 3 * 6 + 6


def test_every_printed_row_is_an_experiment_with_its_exact_label(m2a: Paper) -> None:
    assert [(table.id, len(table.rows)) for table in m2a.tables] == [
        ("I", 4), ("II", 4), ("III", 4), ("IV", 4), ("V", 6), ("VI", 12),
    ]  # fmt: skip
    assert [table.backbone for table in m2a.tables] == ["resnet18", "mobilenetv2", "i3d-resnet18", *["resnet18"] * 3]
    for table in m2a.tables:
        if not table.is_matrix:
            assert [row.label for row in table.rows] == [cells[0] for cells in table.printed.rows]
        assert len({row.id for row in table.rows}) == len({row.label for row in table.rows}) == len(table.rows)
        assert all(row.id.startswith(f"m2a/{table.slug}/") for row in table.rows)


def test_every_printed_cell_of_table_vi_is_an_experiment(m2a: Paper) -> None:
    """motion-attention -> (mechanism, printed top-1, printed gain), retyped from the paper's page."""
    cells = {row.name: row for row in m2a.table("VI").rows}
    assert {name: row.printed for name, row in cells.items()} == {
        name: {"top1": top1, "printed_delta_top1": gain}
        for name, top1, gain in [
            ("none-none", 13.9, None), ("none-m2a", 16.9, None), ("none-tam", 21.0, None),
            ("m2a-none", 28.9, None), ("m2a-m2a", 34.7, 17.8), ("m2a-tam", 31.6, 10.6),
            ("tdn-none", 28.6, None), ("tdn-m2a", 29.0, 12.1), ("tdn-tam", 25.3, 4.3),
            ("tea-none", 34.3, None), ("tea-m2a", 33.9, 17.0), ("tea-tam", 33.3, 12.3),
        ]
    }  # fmt: skip
    table = m2a.table("VI")
    assert table.baseline_of(cells["tdn-tam"]) == "m2a/table6/none-tam"
    assert table.baseline_of(cells["none-tam"]) is None
    assert m2a.row("m2a/table6/tdn-tam").model["mechanism"] == "m2a(motion=tdn, attention=tam)"


def test_cells_resolve_to_the_network_their_id_names(m2a: Paper) -> None:
    """Aliases stand for the motion and the attention the id says; one spelling per network, so that runs are shared."""
    from vidrepro.models.mechanisms import resolve_mechanism

    spelt = {}
    for row in m2a.table("VI").rows:
        motion, attention = row.name.split("-")
        options = resolve_mechanism(row.model["mechanism"], "official", {}).options
        assert (options.get("motion", "none"), options.get("attention", "none")) == (motion, attention)
        spelt[motion, attention] = row.model["mechanism"]
    for table in m2a.tables:
        for row in table.rows:
            options = resolve_mechanism(row.model["mechanism"], "official", {}).options
            place = options.get("motion", "none"), options.get("attention", "none")
            assert spelt.setdefault(place, row.model["mechanism"]) == row.model["mechanism"]


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


def test_rows_of_several_tables_with_the_same_network_share_their_config(m2a: Paper) -> None:
    for dataset, preset in (("synthetic", "tiny"), ("ssv1", "paper")):
        first, other = (
            resolve_row(m2a.row(name), dataset=dataset, preset=preset) for name in ("m2a/table1/m2a", "m2a/table5/m2a")
        )
        assert first == other
        assert first.fingerprint == other.fingerprint
    fingerprints = {
        resolve_row(row, dataset="ssv1", preset="paper").fingerprint for table in m2a.tables for row in table.rows
    }
    # Tables I to III; two patch attentions and M2A with TAM; M2A + TSM, TSM, TEA, TDN, TAM; four new cells of VI
    assert len(fingerprints) == 3 * 4 + 3 + 5 + 4


def test_the_papers_preset_is_the_released_recipe(m2a: Paper) -> None:
    config = resolve_row(m2a.row("m2a/table1/m2a"), dataset="ssv1", preset="paper")
    train, data = config.train, config.data
    assert (train.learning_rate, train.momentum, train.weight_decay) == (0.02, 0.9, 5e-4)
    assert (train.epochs, train.schedule, train.step_epochs, train.step_factor) == (30, "step", (20,), 0.1)
    assert (train.batch_size, train.accumulation, train.effective_learning_rate) == (32, 4, 0.02)
    assert (train.gradient_clip, train.frozen_batch_norm, train.nesterov) == (20, "none", False)
    assert (data.train_sampling, data.eval_sampling, str(data.protocol)) == ("tsm-train", "tsm-val", "8x1x1@224")
    assert (data.crop, data.crop_scales, data.flip) == ("multi-scale", (1, 0.875, 0.75, 0.66), "none")
    assert (data.train_size, data.eval_short_side) == (224, 256)
    assert (config.model.dropout, config.model.weights, config.model.backbone) == (0.5, "imagenet", "resnet18")
    assert (config.dataset, config.model.variant) == ("ssv1", "official")
    for row in (row for table in m2a.tables for row in table.rows):  # the released scripts of all tables agree
        other = resolve_row(row, dataset="ssv1", preset="paper")
        assert (other.train, other.data) == (train, data)
        assert (other.model.dropout, other.model.weights) == (0.5, "imagenet")


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


def test_every_fault_of_a_paper_is_reported_with_its_file(copy: Path) -> None:
    def change(file: str, old: str, new: str) -> None:
        text = (copy / file).read_text(encoding="utf-8")
        assert old in text
        (copy / file).write_text(text.replace(old, new), encoding="utf-8")

    change("table1.yaml", "label: M2A-Motion", "label: M2A Motion")
    change("table1.yaml", "baseline: m2a/table1/none", "baseline: m2a/table1/nothing")
    change("table2.yaml", "variant: official", "variante: official")
    change("table5.yaml", "temporal_shift: true}", "temporal_shift: perhaps}")
    change(
        "table6.yaml",
        "tdn-tam, label: TDN-Motion, column: attention_tam",
        "tdn-tam, label: TDN-Motion, column: attention_tan",
    )
    change("paper.yaml", "rows: [tsm]", "rows: [tms]")
    (copy / "recipe.yaml").write_text("about: [", encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_paper(copy)
    text = str(error.value)
    for expected in (
        "table1.yaml: row 'M2A Motion' is not printed",
        "table1.yaml: the printed row 'M2A-Motion' is missing",
        "table1.yaml: baseline 'm2a/table1/nothing' is not an experiment",
        "table2.yaml: unknown key 'model.variante'; did you mean variant",
        "table5.yaml, row tsm: model.temporal_shift",
        "table6.yaml: cell 'TDN-Motion', attention_tan is not printed",
        "table6.yaml: the printed cell 'TDN-Motion', attention_tam is missing",
        "paper.yaml: default_selection names row 'tms'",
        "recipe.yaml, line 1: not valid YAML",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('["M2A", 14.81, 34.7, 63.4, 20, 24]', '["M2A", 14.81, 34.7, 63.4, 20]', "has 5 cells"),
        ('bold: [["M2A", top1], ["M2A", top5]]', 'bold: [["M2A", top2]]', "top2"),
        ('baseline: "None"', 'baseline: "Nothing"', "Nothing"),
        ("figures:", "figurs:", "did you mean figures"),
    ],
)
def test_an_inconsistent_printed_table_is_refused(copy: Path, old: str, new: str, fault: str) -> None:
    file = copy / "printed.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_paper(copy)
    assert fault in str(error.value)
    assert "printed.yaml" in str(error.value)


def test_a_printed_table_needs_a_file(copy: Path) -> None:
    (copy / "table2.yaml").unlink()
    with pytest.raises(ConfigError, match=r"printed\.yaml, table II: no table file says what is run for it"):
        read_paper(copy)


def test_the_sided_options_are_those_of_the_variants(m2a: Paper) -> None:
    """What differences.yaml says about an option is what the models really do under either variant."""
    from vidrepro.models.backbones import BACKBONES
    from vidrepro.models.mechanisms import m2a as mechanism

    options = [entry.option for entry in m2a.differences if entry.option]
    sided = {option.name: option for option in options if option.of == "mechanism"}
    assert sided.keys() == mechanism.VARIANTS["official"].keys()
    for side in ("official", "paper"):
        assert {name: getattr(option, side) for name, option in sided.items()} == mechanism.VARIANTS[side]
    of_backbone = [option for option in options if option.of == "backbone"]
    assert {option.name for option in of_backbone} == {"input_layout", "inflation"}
    for option in of_backbone:
        declared = BACKBONES["i3d-resnet18"].options[option.name]
        assert set(declared.choices) == {option.official, option.paper}
        assert declared.default == option.paper  # the released bugs only when asked for


def test_every_effect_changes_the_network_it_names(m2a: Paper) -> None:
    """An option that the row's mechanism does not have would be left out silently and show an effect of nothing."""
    effects = [effect for difference in m2a.differences for effect in difference.effects]
    assert len(effects) >= 12
    for effect in effects:
        plain, changed = (
            resolve_row(m2a.row(effect.row), dataset="ssv1", preset="paper", overrides=overrides)
            for overrides in ((), effect.set)
        )
        assert plain.fingerprint != changed.fingerprint, effect


def test_sentences_that_are_judged_are_true_of_the_printed_numbers(m2a: Paper) -> None:
    """Each says what the paper's own table shows; only the one the transcription doubts does not follow from it."""
    judged = [claim for claim in m2a.claims if claim.holds]
    assert {table for claim in judged for table in claim.tables} == {table.id for table in m2a.tables}
    for claim in judged:
        for comparison in claim.holds:
            first, second = (float(m2a.row(name).printed["top1"]) for name in comparison.experiments)  # type: ignore[arg-type]
            if comparison.similar:
                assert abs(first - second) < 3, claim.text
            elif claim.needs == "all":
                assert first > second, claim.text
        if claim.needs == "any":
            pairs = [[float(m2a.row(n).printed["top1"]) for n in c.experiments] for c in claim.holds]  # type: ignore[arg-type]
            assert any(first > second for first, second in pairs)


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("printed.yaml", "lower: m2a/table5/tam}", "lower: m2a/table5/tom}", "'m2a/table5/tom', which is not an exper"),
        ("printed.yaml", "tables: [VI]", "tables: [VII]", "table 'VII', which is not printed"),
        ("printed.yaml", "{similar: [m2a/table3/m2a", "{higher: m2a/table3/m2a, similar: [m2a/table3/m2a", "either"),
        ("differences.yaml", "row: m2a/table5/tdn", "row: m2a/table5/tnd", "'m2a/table5/tnd' is not an experiment"),
        ("differences.yaml", "model.temporal_shift=true", "model.temporal_shfit=true", "did you mean temporal_shift"),
    ],
)
def test_a_sentence_or_difference_about_nothing_is_refused(
    copy: Path, file: str, old: str, new: str, fault: str
) -> None:
    text = (copy / file).read_text(encoding="utf-8")
    assert old in text
    (copy / file).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_paper(copy)
    assert fault in str(error.value)


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


def test_every_experiment_file_opens_with_what_it_is(m2a: Paper) -> None:
    for file in m2a.folder.glob("table*.yaml"):
        head = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        assert "M2A, Table" in head[0]
        assert any("vidrepro ablate m2a" in line for line in head)
        assert any("Time:" in line for line in head)
        yaml.safe_load(file.read_text(encoding="utf-8"))
