"""AIA's tables as experiments: what is printed, what each row is, and what it costs beside what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidrepro.ablation.setting import settings_of_tables
from vidrepro.cli.app import app
from vidrepro.cost.costs_file import KnownCosts
from vidrepro.cost.paper_costs import measure_row
from vidrepro.data.sampling import eval_positions
from vidrepro.errors import ConfigError
from vidrepro.evaluation.scores import load_scores
from vidrepro.experiments import Ensemble, Evaluation, Paper, load_paper, resolve_row, select_rows
from vidrepro.models import check_config

# Table I by hand from the paper's page: block -> top-1, on TSN and on TSM.
TSN = {
    "none": 19.7, "se3d": 22.0, "ge3d-g": 22.3, "ge3d-dw133": 19.4, "ge3d-dw333": 44.2, "s3d-g": 28.9,
    "cbam3d-177": 28.1, "cbam3d-377": 43.4, "c": 44.3, "st": 43.7, "c-st": 44.3, "st-c": 44.3, "c+st": 43.6,
    "cinst": 46.9, "stinc": 44.5, "cinst-stinc": 48.5, "stinc-cinst": 47.1, "cinst+stinc": 46.9,
}  # fmt: skip
TSM = {
    "tsm": 45.6, "tsm-c": 47.9, "tsm-st": 48.1, "tsm-c-st": 48.3, "tsm-st-c": 48.3, "tsm-c+st": 48.3,
    "tsm-cinst": 48.7, "tsm-stinc": 48.4, "tsm-cinst-stinc": 49.2, "tsm-stinc-cinst": 48.6, "tsm-cinst+stinc": 49.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def aia() -> Paper:
    return load_paper("aia")


def test_table_1_is_printed_row_by_row(aia: Paper) -> None:
    assert {row.name: row.printed["top1"] for row in aia.table("I").rows} == TSN | TSM
    assert [row.name for row in aia.table("I").rows] == [*TSN, *TSM]


@pytest.mark.parametrize("preset, dataset", [("tiny", "synthetic"), ("paper", "ssv1")])
def test_every_row_of_table_1_can_be_run(aia: Paper, preset: str, dataset: str) -> None:
    """Under both presets each is a network that can be built, and no two are the same run."""
    configs = {row.name: resolve_row(row, dataset=dataset, preset=preset) for row in aia.table("I").rows}
    for name, config in configs.items():
        check_config(config.model)
        assert config.model.temporal_shift == (name in TSM)
        assert config.model.backbone == {"tiny": "micro", "paper": "resnet50"}[preset]
    assert len({config.fingerprint for config in configs.values()}) == len(configs) == 29


def test_the_recipe_is_the_papers(aia: Paper) -> None:
    config = resolve_row(aia.row("aia/table1/cinst"), dataset="ssv1", preset="paper")
    assert (config.train.epochs, config.train.step_epochs, config.train.effective_learning_rate) == (50, (20, 40), 0.01)
    assert (config.train.batch_size, config.model.weights) == (8 * 4, "imagenet")
    assert config.data.train_resize == config.data.eval_resize == (240, 320)
    assert str(config.data.protocol) == "8x1x1@224"


def test_table_2_is_made_of_six_trained_aia_networks(aia: Paper) -> None:
    """Frames x crops x clips: a network per number of frames, its other views and ensembles from its runs."""
    rows = {row.name: row for row in aia.table("II").rows if row.label.startswith("AIA")}
    trained = {name: row.frames for name, row in rows.items() if row.is_trained}
    assert trained == {f"aia-{net}-{frames}x1x1": frames for net in ("tsn", "tsm") for frames in (8, 12, 16)}
    assert rows["aia-tsm-12x3x2"].derived == Evaluation("aia/table2/aia-tsm-12x1x1", 3, 2)
    assert rows["aia-tsn-8+16x3x2"].derived == Ensemble(("aia/table2/aia-tsn-8x3x2", "aia/table2/aia-tsn-16x3x2"))
    members = aia.trained_rows(rows["aia-tsm-8+12+16x3x2"])
    assert [row.name for row in members] == ["aia-tsm-8x1x1", "aia-tsm-12x1x1", "aia-tsm-16x1x1"]
    for row in rows.values():  # the views that are printed
        assert row.views in (row.printed["views"], 1)
        assert row.views == row.printed["views"] or isinstance(row.derived, Ensemble)


def test_a_rows_own_frames_win_over_a_preset(aia: Paper) -> None:
    row = aia.row("aia/table2/aia-tsm-12x1x1")
    for preset, dataset in (("tiny", "synthetic"), ("paper", "ssv2")):
        assert resolve_row(row, dataset=dataset, preset=preset).data.frames == 12
    assert resolve_row(row, dataset="ssv2", preset="paper", overrides=["data.frames=4"]).data.frames == 4


def test_eight_frames_share_their_runs_with_table_1(aia: Paper) -> None:
    def fingerprint(experiment: str) -> str:
        return resolve_row(aia.row(experiment), dataset="synthetic", preset="tiny").fingerprint

    assert fingerprint("aia/table2/aia-tsn-8x1x1") == fingerprint("aia/table1/cinst-stinc")
    assert fingerprint("aia/table2/tsn-8x1x1") == fingerprint("aia/table1/none") == fingerprint("aia/table3/tsn")


def test_what_is_quoted_or_not_built_is_never_run(aia: Paper) -> None:
    """Of Table III's rows, which the authors "re-run by ourselves", GST's network is not built; none is quoted."""
    selected = select_rows(aia, "II,III,IV,V")
    assert all(row.not_run is None for row in selected)
    assert {row.name: row.not_run for row in aia.table("III").rows if row.not_run} == {"gst": "not built"}
    assert {row.name: row.not_run for row in aia.table("IV").rows if row.not_run} == {
        "i3d-2stream": "quoted", "r34-2stream": "quoted", "sap": "quoted", "gst": "not built"
    }  # fmt: skip
    assert aia.row("aia/table2/gst-16x1x1").not_run == "quoted"  # of its own authors
    for refuse in (
        lambda: select_rows(aia, "III", "gst"),
        lambda: resolve_row(aia.row("aia/table3/gst"), dataset="synthetic", preset="tiny"),
    ):
        with pytest.raises(ConfigError, match="gst"):
            refuse()


def test_each_table_has_its_own_datasets(aia: Paper, tmp_path: Path) -> None:
    """auto: every place that is prepared, label set and folds with it; the embedded dataset where none is."""

    def places(table: str, dataset: str = "auto") -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        found = settings_of_tables(
            aia, [aia.table(table)], dataset=dataset, preset=None, backbone=None, overrides=None, data=tmp_path
        )
        return [(setting.dataset, setting.overrides, setting.folds) for setting, _ in found]

    assert [aia.table(name).datasets for name in ("I", "II", "III", "IV", "V")] == [
        ("ssv1",), ("ssv1", "ssv2"), ("diving48",), ("egtea",), ("epic55",)
    ]  # fmt: skip
    assert places("II") == places("V") == [("synthetic", (), ())]
    for name in ("ssv2", "epic55", "egtea"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.csv").touch()
    assert places("II") == [("ssv2", (), ())]
    assert places("II", "ssv1") == [("ssv1", (), ())]
    assert places("IV") == [("egtea", (), ("split1", "split2", "split3"))]
    assert places("V") == [("epic55", (), ()), ("epic55", ("data.task=noun",), ())]
    assert places("III") == [("synthetic", (), ())]


def test_a_printed_column_is_found_by_its_place(aia: Paper) -> None:
    second, fifth = aia.table("II"), aia.table("V")
    assert second.column("top1", "ssv2").name == "v2_top1"  # type: ignore[union-attr]
    assert second.column("top5", "synthetic").name == "v1_top5"  # type: ignore[union-attr]
    assert fifth.column("top1", "epic55", "noun").name == "noun_top1"  # type: ignore[union-attr]
    assert aia.table("IV").column("top1", "egtea", None, "split3").name == "split3_top1"  # type: ignore[union-attr]
    assert fifth.column("top5") is None


def fake_cost(frames: int) -> dict[str, object]:
    """A network that costs 4 G a frame and 1.148 G a clip; counted, not real."""
    return {
        "frames": frames, "size": 224, "channels": 3, "params": 23_871_726, "gmacs_fvcore": 4.0 * frames + 1.148,
        "gmacs_conv_linear": 4.0 * frames, "by_operator": {"conv": 4 * frames}, "uncounted": {}, "components": {},
        "elements": {}, "cross_check": {"agrees": True, "disagreements": [], "macs": {}},
    }  # fmt: skip


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidrepro.cost.costs_file.count", lambda network, clip: fake_cost(clip.frames))


@pytest.mark.usefixtures("counted")
def test_printed_flops_of_table_2_are_those_of_8_frames_scaled(aia: Paper) -> None:
    """33.148 x T / 8, an ensemble the sum; what the networks really cost stands beside it."""
    costs = KnownCosts()
    found = {row.name: measure_row(aia, row, costs) for row in aia.table("II").rows if row.label.startswith("AIA(TSN)")}
    convention = {name: f"{record['gmacs_printed_convention']:.1f}" for name, record in found.items()}
    assert [convention[f"aia-tsn-{views}"] for views in ("8x3x2", "12x1x1", "16x1x2")] == ["33.1", "49.7", "66.3"]
    assert (convention["aia-tsn-8+16x3x2"], convention["aia-tsn-8+12+16x3x2"]) == ("99.4", "149.2")
    wrong = [name for name, record in found.items() if record["matches_printed"] is False]
    assert wrong == ["aia-tsn-8+12+16x3x2"]  # printed 149.1, the sum of the rounded ones
    assert found["aia-tsn-16x1x1"]["gmacs_fvcore"] == pytest.approx(65.148)
    assert found["aia-tsn-8+16x3x2"]["gmacs_fvcore"] == pytest.approx(33.148 + 65.148)
    assert found["aia-tsn-8+16x3x2"]["params"] == 2 * 23_871_726
    assert [found[f"aia-tsn-8x{views}"]["views"] for views in ("1x1", "1x2", "3x2")] == [1, 2, 6]


@pytest.mark.usefixtures("counted")
def test_networks_are_counted_where_they_are_built(aia: Paper) -> None:
    costs = KnownCosts()
    tea = measure_row(aia, aia.row("aia/table2/tea-8x3x10"), costs)
    assert (tea["mechanism"], tea["views"], tea["not_measured"]) == ("tea-original", 30, None)
    i3d = measure_row(aia, aia.row("aia/table2/i3d-32x1x2"), costs)
    assert (i3d["backbone"], i3d["mechanism"], i3d["frames"], i3d["views"]) == ("i3d-resnet50", "none", 32, 2)
    for table in (3, 4, 5):
        c3d = measure_row(aia, aia.row(f"aia/table{table}/c3d"), costs)
        assert (c3d["backbone"], c3d["frames"], c3d["not_measured"]) == ("c3d-resnet50", 8, None)
    gst = measure_row(aia, aia.row("aia/table2/gst-16x1x1"), costs)
    assert (gst["backbone"], gst["params"], gst["printed_params"]) == (None, None, 21.0)
    assert "not built" in gst["not_measured"] and gst["quoted"]
    own = measure_row(aia, aia.row("aia/table3/gst"), costs)
    assert (own["backbone"], own["params"], own["quoted"]) == (None, None, None)
    assert "not built" in own["not_measured"] and own["not_built"]


@pytest.mark.parametrize(
    ("preset", "dataset", "backbone"), [("tiny", "synthetic", "c3d-micro"), ("paper", "diving48", "c3d-resnet50")]
)
def test_c3d_can_be_trained(aia: Paper, preset: str, dataset: str, backbone: str) -> None:
    """As TSN is, but for its backbone: the same clips and the same recipe."""
    for table in (3, 4, 5):
        c3d, tsn = (
            resolve_row(aia.row(f"aia/table{table}/{row}"), dataset=dataset, preset=preset) for row in ("c3d", "tsn")
        )
        check_config(c3d.model)
        assert c3d.model.backbone == backbone
        assert (c3d.data, c3d.train) == (tsn.data, tsn.train)


def test_evaluation_is_the_released_test_rule(aia: Paper) -> None:
    """main.py and test.py sample by TSM's TEST rule: a clip of T frames is seen whole, not as its first frame."""
    for frames in (8, 12, 16):
        data = resolve_row(aia.row(f"aia/table2/aia-tsm-{frames}x1x1"), dataset="ssv1", preset="paper").data
        assert eval_positions(data.eval_sampling, frames, frames).tolist() == list(range(frames))
        assert eval_positions("tsm-val", frames, frames).tolist() == [0] * frames


def test_the_plan_of_table_2_names_what_is_trained_and_what_is_had_from_it(tmp_path: Path) -> None:
    words = ["ablate", "aia", "--table", "II", "--dry-run", "--data", str(tmp_path), "--results", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "9 runs" in text  # six AIA networks, TSN, TSM with 8 frames (Table I's) and with 16
    assert "Had from these runs:" in text and "aia/table2/aia-tsm-8+12+16x3x2" in text
    plan = json.loads(CliRunner().invoke(app, [*words, "--json", "--rows", "aia-tsn-8+16x3x2"]).stdout)
    assert [cell["experiment"] for cell in plan] == ["aia/table2/aia-tsn-8x1x1", "aia/table2/aia-tsn-16x1x1"]
    assert [cell["config"]["data"]["frames"] for cell in plan] == [8, 16]


@pytest.mark.usefixtures("counted", "trained_here")
def test_an_ensemble_is_trained_evaluated_and_shown_in_one_go(toy_data: Path, tmp_path: Path) -> None:
    """Two networks, six views of each, their mean; a second time nothing is left to do."""
    words = ["ablate", "aia", "--table", "II", "--rows", "aia-tsn-8+16x3x2,aia-tsn-8x1x2", "--dataset", "toy"]
    words += ["--preset", "tiny", "--data", str(toy_data), "--results", str(tmp_path), "--jobs", "1", "--json"]
    for text in ("train.epochs=1", "train.warmup_epochs=0", "train.batch_size=8", "model.backbone_options.width=4"):
        words += ["--set", text]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    (table,) = json.loads(first.stdout)
    rows = {row["experiment"].rpartition("/")[2]: row for row in table["rows"]}
    for name, protocol in (
        ("aia-tsn-8x1x1", "8x1x1@32"),
        ("aia-tsn-8x1x2", "8x1x2@32"),
        ("aia-tsn-8+16x3x2", "(8+16)x3x2@32"),
    ):
        assert rows[name]["protocol"] == protocol
        assert rows[name]["empty_because"] is None
    assert rows["aia-tsn-16x3x2"]["protocol"] == "16x3x2@32"  # a member, scored for the ensemble
    assert rows["aia-tsn-12x3x2"]["empty_because"] == "aia-tsn-12x1x1 not run"
    scores = {path.name.split("-")[1]: load_scores(path) for path in tmp_path.glob("runs/*/scores/*-best.npz")}
    labels = scores["8x1x2@32"].labels
    assert rows["aia-tsn-8x1x2"]["top1"] == 100 * (scores["8x1x2@32"].logits.argmax(1) == labels).mean()
    joint = scores["8x3x2@32"].logits + scores["16x3x2@32"].logits
    assert rows["aia-tsn-8+16x3x2"]["top1"] == 100 * (joint.argmax(1) == labels).mean()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/scores/*-best.npz")}
    protocols = sorted(path.name.split("-")[1] for path in kept)
    assert protocols == ["16x1x1@32", "16x3x2@32", "8x1x1@32", "8x1x2@32", "8x3x2@32"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert kept == {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/scores/*-best.npz")}
