"""ST-ABN's and T-CNN's tables as experiments: printed facts, what is run for each row, and what starts from what.

The numbers here are copied by hand from the papers and the specifications, not from the files under test.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vidrepro.config import START_RUN
from vidrepro.errors import ConfigError
from vidrepro.experiments import Paper, Row, load_paper, read_paper, resolve_row
from vidrepro.experiments.overrides import PRETRAINED, replaces_start, with_weights_digest
from vidrepro.experiments.papers import Evaluation
from vidrepro.files import experiments_folder

EMBEDDED = {"dataset": "synthetic", "preset": "tiny"}


def own_config(row: Row, dataset: str, **more: object) -> dict[str, object]:
    return resolve_row(row, dataset=dataset, preset="paper", **more).model_dump()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stabn() -> Paper:
    return load_paper("stabn")


@pytest.fixture(scope="module")
def tcnn() -> Paper:
    return load_paper("tcnn")


def test_stabn_prints_four_rows_of_its_own_beneath_24_quoted_ones(stabn: Paper) -> None:
    table = stabn.table(1)
    assert [row.quoted is None for row in table.rows] == [False] * 24 + [True] * 4
    own = {row.name: tuple(row.printed.values()) for row in table.rows[24:]}
    assert own == {
        "r50-32": (45.9, 75.4, 56.6, 82.0),
        "r50-32x2": (53.3, 82.0, 64.1, 89.6),
        "r101-32": (47.4, 76.4, 58.0, 83.2),
        "r101-32x2": (55.0, 83.0, 65.8, 90.4),
    }
    assert table.datasets == ("ssv1", "ssv2")
    cpnet, dfb = (table.printed.row(label) for label in ("CPNet, ResNet-34, 24", "DFB-Net, ResNet-152, 16"))
    assert (cpnet["v2_top1"], cpnet["v2_top5"]) == (dfb["v2_top1"], dfb["v2_top5"]) == (57.7, 84.0)  # the suspect pair
    suspects = {(doubt.row, doubt.column) for doubt in table.printed.doubts if "suspect" in doubt.text}
    assert suspects == {("DFB-Net, ResNet-152, 16", column) for column in ("v2_top1", "v2_top5")}


def test_table_2_is_one_run_of_table_1_and_its_bold_cells_are_the_lowest(stabn: Paper) -> None:
    table, trained = stabn.table(2), stabn.row("stabn/table1/r50-32x2")
    neither = table.rows[0]
    assert dict(neither.printed) == dict(trained.printed)
    for dataset in ("ssv1", "ssv2"):
        assert own_config(neither, dataset) == own_config(trained, dataset)
    for column in table.printed.columns[1:]:
        lowest = min(table.printed.labels, key=lambda label: float(table.printed.row(label)[column.name]))  # type: ignore[arg-type]
        assert (lowest, column.name) in table.printed.bold
    probes = {row.name: row.derived for row in table.rows if row.derived is not None}
    assert all(isinstance(one, Evaluation) and one.of == neither.id for one in probes.values())
    whats = {"spatial": "spatial", "temporal": "temporal", "both": "all"}
    assert {name: one.probe for name, one in probes.items() if isinstance(one, Evaluation)} == {
        **{name: (what, "invert") for name, what in whats.items()},
        **{f"{name}-{how}": (what, how) for name, what in whats.items() for how in ("mean", "shuffle")},
    }


def test_stabns_recipe_and_samplings(stabn: Paper) -> None:
    sparse, strided = (
        resolve_row(stabn.row(f"stabn/table1/r101-{name}"), dataset="ssv1", preset="paper") for name in ("32", "32x2")
    )
    for config in (sparse, strided):
        recipe = config.train
        assert (recipe.learning_rate, recipe.effective_batch, recipe.momentum, recipe.weight_decay) == (
            0.01,
            64,
            0.9,
            5e-4,
        )
        assert (recipe.epochs, recipe.step_epochs, recipe.nesterov, recipe.gradient_clip) == (150, (75, 125), True, 20)
        assert (config.model.backbone, config.model.weights, config.model.dropout) == ("slow-r101", "imagenet", 0.5)
        assert str(config.data.protocol) == "32x1x1@224" and config.data.flip == "none"
    assert (sparse.data.train_sampling, sparse.data.eval_sampling) == ("uniform-jitter", "tsm-test")
    assert (strided.data.train_sampling, strided.data.eval_sampling, strided.data.stride) == ("strided", "strided", 2)


@pytest.mark.parametrize("row", ["table1/r50-32x2", "table1/r101-32x2", "table2/neither"])
def test_variant_paper_is_trained_as_the_text_says(stabn: Paper, row: str) -> None:
    """x 1/10 after the saturation of the validation loss, momentum 0.9; two 32 frames of a video divided at random."""
    config = resolve_row(stabn.row(f"stabn/{row}"), dataset="ssv1", preset="paper", overrides=["model.variant=paper"])
    recipe, data = config.train, config.data
    assert (recipe.schedule, recipe.plateau_factor, recipe.learning_rate, recipe.momentum) == (
        "plateau",
        0.1,
        0.01,
        0.9,
    )
    assert (recipe.nesterov, recipe.gradient_clip, recipe.effective_batch) == (False, None, 64)
    assert (data.train_sampling, data.eval_sampling, data.stride) == ("two-random-segments", "two-segments", 1)
    assert (str(data.protocol), data.eval_average) == ("32x1x2@224", "softmax")
    asked = ["model.variant=paper", "train.schedule=step", "data.train_sampling=two-segments"]
    config = resolve_row(stabn.row(f"stabn/{row}"), dataset="ssv1", preset="paper", overrides=asked)
    assert (config.train.schedule, config.data.train_sampling) == ("step", "two-segments")  # --set comes last


def test_the_order_blind_comparison_is_m2as_baseline_on_the_embedded_dataset(stabn: Paper) -> None:
    blind, baseline = stabn.row("stabn/table2/order-blind"), load_paper("m2a").row("m2a/table1/none")
    assert resolve_row(blind, **EMBEDDED).fingerprint == resolve_row(baseline, **EMBEDDED).fingerprint == "719f9df5f91c"
    assert blind.own and not any(blind.printed.values())


def test_tcnns_tables_agree_with_each_other_and_with_the_text(tcnn: Paper) -> None:
    accuracy = {table: {row.label: row.printed["accuracy"] for row in tcnn.table(table).rows} for table in (2, 3)}
    total = {row.label: row.printed["total"] for row in tcnn.table(4).rows if not row.own}
    assert total == {"O": 95.3, "O + D": 96.3, "O + C": 95.8, "C + D": 96.2, "O + C + D": 96.7}
    assert (total["O"], total["O + C + D"]) == (accuracy[2]["T-CNN"], accuracy[2]["T-CNN + spatial"])
    gains = [round(float(found["T-CNN + spatial"]) - float(found["T-CNN"]), 1) for found in accuracy.values()]  # type: ignore[arg-type]
    assert gains == [1.4, 1.9]  # as the text says
    (layers,) = tcnn.figures
    inputs, outputs = ([row[index] for row in layers.rows] for index in (2, 3))
    assert len(layers.rows) == 36 and inputs[1:] == outputs[:-1]
    assert [row[4] for row in layers.rows if "Dilation" in str(row[1])] == [4, 4, 4, 4, 2, 4, 2, 2, 2]


def test_tcnns_recipe_is_the_printed_one(tcnn: Paper) -> None:
    config = resolve_row(tcnn.row("tcnn/table2/t-cnn"), dataset="ucf101", preset="paper")
    recipe, data = config.train, config.data
    assert (recipe.epochs, recipe.effective_batch, recipe.momentum, recipe.weight_decay) == (150, 16, 0.9, 4e-5)
    assert (recipe.schedule, recipe.learning_rate, recipe.min_learning_rate) == ("cosine", 0.1, 1e-4)
    assert (data.train_sampling, data.stride, data.train_resize, data.train_size) == ("strided", 1, (256, 342), 224)
    assert (data.protocol.views, data.eval_short_side, data.eval_average) == (30, 224, "softmax")
    assert (config.model.dropout, config.model.weights) == (0.5, None)
    pretraining = resolve_row(tcnn.row("tcnn/table0/t-cnn"), dataset="kinetics400", preset="paper")
    assert pretraining.model_dump() == config.model_dump() | {"dataset": "kinetics400"}


@pytest.mark.parametrize(("dataset", "preset"), [("synthetic", "tiny"), ("ucf101", "paper")])
def test_branches_start_from_the_tcnn_of_their_setting(tcnn: Paper, dataset: str, preset: str) -> None:
    def config(name: str, **more: object):  # type: ignore[no-untyped-def]
        return resolve_row(tcnn.row(f"tcnn/{name}"), dataset=dataset, preset=preset, **more)  # type: ignore[arg-type]

    start = config("table4/o")
    assert start.model_dump() == config("table2/t-cnn").model_dump() and start.model.mechanism == "none"
    branches = ("o+d", "o+c", "c+d", "o+c+d", "o-longer")
    found = {name: config(f"table4/{name}") for name in branches}
    assert {one.model.weights for one in found.values()} == {START_RUN + start.fingerprint}
    assert len({one.fingerprint for one in found.values()}) == len(branches)
    assert found["o+c+d"].model_dump() == config("table2/t-cnn-spatial").model_dump()
    assert len({one.train for one in found.values()}) == 1  # all go on for as long
    fold = config("table4/o+d", overrides=["data.fold=split2"])
    assert fold.model.weights == START_RUN + config("table4/o", overrides=["data.fold=split2"]).fingerprint
    assert config("table4/o+d", overrides=["model.weights=null"]).model.weights is None  # what is asked for wins


def test_what_a_row_starts_from_is_trained_first(tcnn: Paper, stabn: Paper) -> None:
    names = [row.name for row in tcnn.runs_needed(tcnn.row("tcnn/table4/o+d"))]
    assert names == ["o", "o+d"]
    assert [row.name for row in stabn.runs_needed(stabn.row("stabn/table2/spatial-mean"))] == ["neither"]
    assert tcnn.runs_needed(tcnn.row("tcnn/table2/tsm")) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows, extra: rows[1].update(starts_from="nobody"), "o[+]d starts from 'tcnn/table4/nobody'"),
        (lambda rows, extra: rows[1].update(starts_from="tcnn/table2/c3d"), "starts from 'tcnn/table2/c3d', which is"),
        (lambda rows, extra: rows[1].update(starts_from="o+c") or rows[2].update(starts_from="o+d"), "from itself"),
        (lambda rows, extra: extra[0].update(label="O + D"), "label row 'O [+] D' stands twice"),
        (lambda rows, extra: extra[0].update(id="o+d"), "id o[+]d stands twice"),
        (lambda rows, extra: rows[1].update(quoted="elsewhere", model={}), "not of one with quoted"),
    ],
)
def test_faults_about_starts_and_extra_rows_are_named(
    tmp_path: Path, change: Callable[[list[dict], list[dict]], None], expected: str
) -> None:
    folder = tmp_path / "tcnn"
    shutil.copytree(experiments_folder() / "tcnn", folder)
    file = folder / "table4.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(content["rows"], content["extra_rows"])
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_paper(folder)
    assert re.search(expected, str(caught.value.allowed)), caught.value.allowed


def test_every_difference_can_be_set(stabn: Paper, tcnn: Paper) -> None:
    """Reading the files has resolved each effect's settings; here the networks they mean are known to be buildable."""
    from vidrepro.models import check_config

    for paper in (stabn, tcnn):
        assert any(difference.effects for difference in paper.differences)
        for difference in paper.differences:
            for effect in difference.effects:
                row = paper.row(effect.row)
                config = resolve_row(row, dataset=paper.dataset, preset="paper", overrides=effect.set)
                plain = resolve_row(row, dataset=paper.dataset, preset="paper")
                check_config(config.model)
                assert config.fingerprint != plain.fingerprint, (difference.id, effect.set)


def test_pretraining_is_where_the_chain_begins_and_other_weights_replace_it(tcnn: Paper, tmp_path: Path) -> None:
    file, same = tmp_path / "kinetics.pt", tmp_path / "copy.pt"
    for path in (file, same):
        path.write_bytes(b"weights")

    def config(name: str, *overrides: str):  # type: ignore[no-untyped-def]
        row = tcnn.row(f"tcnn/table4/{name}")
        return resolve_row(row, dataset="ucf101", preset="paper", overrides=with_weights_digest(overrides))

    begun = config("o", f"model.weights={PRETRAINED}{file}")
    assert begun.model.weights == str(file) and begun.fingerprint != config("o").fingerprint
    assert begun.fingerprint == config("o", f"model.weights={PRETRAINED}{same}").fingerprint  # by content, not by name
    then = config("o+d", f"model.weights={PRETRAINED}{file}")
    assert then.model.weights == START_RUN + begun.fingerprint and then.model.weights_digest is None
    assert config("o+d", f"model.weights={file}").model.weights == str(file)
    assert replaces_start([f"model.weights={file}"]) and not replaces_start([f"model.weights={PRETRAINED}{file}"])
