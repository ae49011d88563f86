"""``vidrepro ablate --folds``: one run per row, seed and official fold, and their mean in the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_commands import overrides
from typer.testing import CliRunner

from tests.conftest import make_toy_dataset
from vidrepro.cli.app import app
from vidrepro.data.manifest import write_manifest
from vidrepro.errors import VidreproError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy dataset under UCF101's name, prepared with split 1; each fold tests on other clips."""
    folder = tmp_path_factory.mktemp("data")
    toy = make_toy_dataset(folder, "ucf101", clips=18)
    tests = {"split1": range(6), "split2": range(6, 12), "split3": range(12, 18)}
    ids = list(toy.table["id"])
    splits = {
        fold: ["test" if n in chosen else "train" for n in range(len(ids))] for fold, chosen in tests.items()
    }  # fmt: skip
    (toy.folder / "splits").mkdir()
    for fold, values in splits.items():
        lines = ["id,split", *(f"{clip},{split}" for clip, split in zip(ids, values, strict=True))]
        (toy.folder / "splits" / f"{fold}.csv").write_text("\n".join(lines) + "\n")
    info = toy.info | {"fold": "split1", "reversal_pairs": [], "order_blind_ceiling": None}
    write_manifest(toy.folder, toy.table.assign(split=splits["split1"]), info)
    return folder


def ablate(data: Path, results: Path, *more: str) -> Any:
    words = ["ablate", "m2a", "--table", "I", "--rows", "none", "--dataset", "ucf101", "--preset", "tiny", "--json"]
    settings = overrides("train.epochs=1")
    done = CliRunner().invoke(app, [*words, *settings, "--data", str(data), "--results", str(results), *more])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return json.loads(done.stdout)


def test_the_dry_run_lists_every_fold_and_leaves_the_manifests_own_unnamed(data: Path, tmp_path: Path) -> None:
    cells = ablate(data, tmp_path, "--folds", "all", "--seeds", "0,1", "--dry-run")
    assert [(cell["fold"], cell["seed"]) for cell in cells] == [
        (fold, seed) for fold in ("split1", "split2", "split3") for seed in (0, 1)
    ]
    assert len({cell["run"] for cell in cells}) == 6
    assert [cell["config"]["data"]["fold"] for cell in cells[::2]] == [None, "split2", "split3"]
    plain = ablate(data, tmp_path, "--dry-run")  # a run made without --folds is the one of split 1
    assert [cell["run"] for cell in plain] == [cells[0]["run"]]
    some = ablate(data, tmp_path, "--folds", "split3,split1", "--dry-run")
    assert [cell["run"] for cell in some] == [cells[4]["run"], cells[0]["run"]]


def test_where_nothing_is_prepared_folds_are_listed_by_name(tmp_path: Path) -> None:
    cells = ablate(tmp_path / "none", tmp_path, "--folds", "all", "--dry-run")
    assert [cell["config"]["data"]["fold"] for cell in cells] == ["split1", "split2", "split3"]
    assert {cell["state"] for cell in cells} == {"ucf101 not prepared"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--folds", "split1,"), "names no fold"),
        (("--folds", "all", "--dataset", "synthetic"), "names no fold of 'synthetic'"),
        (("--folds", "split1", "--set", "data.fold=split2"), "both name a fold"),
        (("--folds", "split4"), "split1"),
    ],
)
def test_folds_that_cannot_be(more: tuple[str, ...], says: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(VidreproError) as refusal:
        ablate(data, tmp_path, *more, "--dry-run")
    assert says in str(refusal.value)


@pytest.mark.usefixtures("trained_here")
def test_a_run_on_a_fold_trains_on_it_and_the_table_names_the_missing_ones(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidrepro.cost.paper_costs.measure_paper", lambda *_, **__: [])  # slow, and not tested here
    (shown,) = ablate(data, tmp_path, "--folds", "split3", "--device", "cpu", "--jobs", "1", "--cache", "never")
    (record,) = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/run.json")]
    assert record["dataset"]["fold"] == "split3" and record["paper_setting"]["overrides"].count("data.fold=split3") == 1
    rows = {row["fold"]: row for row in shown["rows"] if row["experiment"] == "m2a/table1/none"}
    assert set(rows) == {"mean of split1, split2, split3", "split3"}
    assert rows["split3"]["top1"] == record["best"]["top1"]
    assert rows["mean of split1, split2, split3"]["top1"] is None
    assert rows["mean of split1, split2, split3"]["empty_because"] == "split1, split2 not run"
    (command,) = [fact for fact in shown["facts"] if fact.startswith("Not run") and "--rows none " in fact]
    assert command.endswith("--folds split1,split2")
    states = {cell["fold"]: cell["state"] for cell in ablate(data, tmp_path, "--folds", "all", "--dry-run")}
    assert states == {"split1": "to run", "split2": "to run", "split3": "finished"}
