"""Faults in a paper's files are named, each with its file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vidrepro.errors import ConfigError
from vidrepro.experiments import (
    load_paper,
    read_paper,
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of M2A's folder to damage."""
    return Path(shutil.copytree(load_paper("m2a").folder, tmp_path / "m2a"))


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


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        ("{text: {data: {stride: 2}}}", "for_variant"),
        ("{paper: {model: {dropout: 0}}}", "for_variant.paper.model: unknown key"),
        ("{paper: {data: {strde: 2}}}", "did you mean stride"),
    ],
)
def test_settings_of_a_variant_are_checked(copy: Path, layer: str, fault: str) -> None:
    file = copy / "table1.yaml"
    text = file.read_text(encoding="utf-8")
    row = "  - {id: none, "
    assert row in text
    file.write_text(text.replace(row, f"{row}for_variant: {layer}, ", 1), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_paper(copy)
    assert fault in str(error.value) and "table1.yaml" in str(error.value)


def test_a_printed_table_needs_a_file(copy: Path) -> None:
    (copy / "table2.yaml").unlink()
    with pytest.raises(ConfigError, match=r"printed\.yaml, table II: no table file says what is run for it"):
        read_paper(copy)


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
