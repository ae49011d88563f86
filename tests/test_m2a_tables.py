"""M2A's tables as experiments: what is printed, what each row is, and what the paper says of it."""

from __future__ import annotations

import pytest
import yaml

from vidrepro.experiments import (
    Paper,
    load_paper,
    resolve_row,
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


def test_every_experiment_file_opens_with_what_it_is(m2a: Paper) -> None:
    files = sorted(m2a.folder.glob("table*.yaml"))
    assert len(files) == len(m2a.tables)
    for file in files:
        head = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        assert "M2A, Table" in head[0]
        assert any("vidrepro ablate m2a" in line for line in head)
        assert any("Time:" in line for line in head)
        yaml.safe_load(file.read_text(encoding="utf-8"))
