"""What is typed arrives: awkward names of folders and files in every command, and no option that nobody takes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.command_line import invoke, plain, run_here
from tests.conftest import make_toy_dataset
from tests.short_runs import MICRO, train_shortly
from vidrepro.ablation import schedule
from vidrepro.cli.app import app
from vidrepro.errors import CheckpointError, ConfigError, VidreproError
from vidrepro.files import file_digest
from vidrepro.runs.folder import start_weights

AWKWARD = "res [v2] [/x] #1 {x} %s * ? :smile: 'q' $HOME"
NAMES = [
    *["good #2.pt", "~", "null", "a: b.pt", "@best.pt", "[v2] best.pt", "2024", "true", "1e3", "*.pt", "?", "{x}.pt"],
    *["%s.pt", "'q'.pt", "new\nline.pt", "imagenet", "run:a.pt", "pretrained:a.pt", "-x.pt", "weights_digest.pt"],
]
SMALL = [
    "model.backbone_options.width=8",
    "data.frames=4",
    "data.train_size=24",
    "data.eval_short_side=28",
    "data.eval_size=24",
    "train.batch_size=4",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of an awkward name with prepared clips, a trained run, and its weights under every name of `NAMES`."""
    folder = tmp_path_factory.mktemp("place") / AWKWARD
    make_toy_dataset(folder / "data [/x]")
    run = train_shortly(folder / "res [v2]", folder / "data [/x]", "toy", MICRO | {"mechanism": "none"})
    for name in NAMES:
        shutil.copyfile(run / "best.pt", folder / name)
    (folder / "good").write_bytes(b"a decoy: what YAML makes of 'good #2.pt' without its end")
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


def small(**more: str) -> list[str]:
    words = ["--dataset", "toy", "--preset", "tiny", "--data", "data [/x]"]
    for setting in [*SMALL, *(f"{key.replace('__', '.')}={value}" for key, value in more.items())]:
        words += ["--set", setting]
    return words


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_weights_is_the_one_that_is_named(name: str, here: Path) -> None:
    words = ["ablate", "m2a", "--rows", "none", "--dry-run", "--json", *small()]
    cells = [json.loads(invoke(*words, *how))[0] for how in ([f"--weights={name}"], [f"--weights={here / name}"])]
    for cell in cells:
        assert Path(cell["config"]["model"]["weights"]).resolve() == here / name
        assert cell["config"]["model"]["weights_digest"] == file_digest(here / name)
    assert cells[0]["config_fingerprint"] == cells[1]["config_fingerprint"]  # content, not name


@pytest.mark.parametrize("name", ["missing #2.pt", "~/x.pt", "[/x]", "good #2.pt "])
def test_a_file_that_is_not_there_is_refused_by_its_whole_name(name: str, here: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        invoke("train", "m2a/table1/none", *small(), "--weights", name)
    assert str(caught.value.given) == name
    assert ("the shell did not replace it" in str(caught.value)) == name.startswith("~")


class InThisProcess:
    """Stands for a process of an ablation: the same words, given to the same commands."""

    def __init__(self, command: list[str], **streams: Any) -> None:
        done = CliRunner().invoke(app, command[3:])
        self.returncode, self.failure = done.exit_code, done.exception
        assert done.exit_code == 0, done.output

    def poll(self) -> int:
        return self.returncode


def test_an_ablations_runs_are_given_the_very_same_words(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule.subprocess, "Popen", InThisProcess)
    monkeypatch.setattr(schedule, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(sys.modules["vidrepro.cli.ablate"], "_print_tables", lambda *_: None)  # which would count costs
    words = ["--weights", "[v2] best.pt", "--results", AWKWARD, *small(train__epochs="1", train__learning_rate="1e-3")]
    done = run_here("ablate", "m2a", "--rows", "none", *words)
    assert done.returncode == 0, done.stderr
    assert f"results in {AWKWARD}" in done.stdout
    (file,) = Path(AWKWARD).glob("runs/*/run.json")
    record = json.loads(file.read_text())
    assert record["config"]["model"]["weights_digest"] == file_digest(here / "[v2] best.pt")
    assert record["config"]["train"]["learning_rate"] == 0.001
    assert "model.weights=[v2] best.pt" in record["paper_setting"]["overrides"]
    # a run is found by its folder, in a command that reads it and in one that starts from it
    assert json.loads(invoke("show", file.parent, "--results", AWKWARD, "--json"))["id"] == record["id"]
    plan = ["ablate", "m2a", "--rows", "m2a", "--dry-run", "--json", *small(), "--from", file.parent]
    (cell,) = json.loads(invoke(*plan))
    assert cell["config"]["model"]["weights_digest"] == file_digest(file.parent / "best.pt")
    assert f"in {AWKWARD}\n" in run_here("runs", "--results", AWKWARD).stdout


def test_a_run_to_start_from_is_no_pattern(here: Path) -> None:
    (folder,) = Path("res [v2]").glob("runs/*")
    dataset = folder.name.split("_")[-2]
    with pytest.raises(CheckpointError, match="no finished run"):
        start_weights(Path("res [v2]"), "run:*", dataset, 0)
    assert start_weights(Path("res [v2]"), f"run:{folder.name.split('_')[-3]}", dataset, 0) == folder / "best.pt"


UNKNOWN = [
    ("train m2a/table1/none", "model.options.nonsense=1", "nonsense"),
    ("train m2a/table1/m2a", "model.options.redction=4", "reduction"),
    ("train m2a/table1/m2a", "model.backbone_options.wdth=4", "width"),
    ("train m2a/table1/m2a", "train.epoch=4", "epochs"),
    ("train m2a/table1/m2a", " model.options.redction =4", "reduction"),
    ("train m2a/table1/m2a", "model.mechanism=m2a(redction=4)", "reduction"),
    ("train m2a/table1/m2a", "dataset=toy", "--dataset"),
    ("ablate m2a", "model.options.redction=4", "reduction"),
    ("ablate m2a --dry-run", "model.backbone_options.wdth=4", "width"),
    ("show m2a/table1/m2a", "model.options.redction=4", "reduction"),
    ("show m2a/table1/m2a", "model.backbone_options.wdth=4", "width"),
    ("measure m2a --table I", "model.options.redction=4", "reduction"),
    ("measure m2a --table I", "model.backbone_options.wdth=4", "width"),
]


@pytest.mark.parametrize(("command", "setting", "nearest"), UNKNOWN)
def test_what_nobody_takes_is_refused_before_anything_is_written(
    command: str, setting: str, nearest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VidreproError) as caught:
        invoke(*command.split(), "--set", setting)
    assert nearest in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option", ["nonsense=1", "variant=paper", "classes=3", "weights=x", "dropout=0.1", "model.a=1"]
)
@pytest.mark.parametrize("backbone", ["resnet18", "none"])
def test_an_import_takes_options_alone(option: str, backbone: str, tmp_path: Path) -> None:
    import torch

    from vidrepro.models import build_mechanism, build_model

    model = build_mechanism("m2a", 64, 8) if backbone == "none" else build_model("resnet18", "m2a", frames=8, classes=3)
    torch.save(model.state_dict(), tmp_path / "file.pt")
    (tmp_path / "before").touch()
    words = ["--backbone", backbone, "--mechanism", "m2a", "--out", tmp_path / "out.pt", "--set", option]
    with pytest.raises(VidreproError, match="option"):
        invoke("import-checkpoint", tmp_path / "file.pt", *words)
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("seed", ["18446744073709551616", "-1", "1.5", "true", "0x"])
def test_seeds_are_whole_numbers_that_torch_takes(seed: str, here: Path) -> None:
    for words in (["train", "m2a/table1/none", f"--seed={seed}"], ["ablate", "m2a", f"--seeds=0,{seed}"]):
        done = run_here(*words, *small(), "--results", "never")
        assert done.returncode == 2 and "defect" not in done.stderr, done.stderr
    assert not Path("never").exists()


def test_a_preset_that_misspells_a_backbone_is_refused(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    from vidrepro.ablation import parts
    from vidrepro.experiments.resolution import load_preset

    tiny = load_preset("tiny")
    for change in ({"replace_backbone": {"resnet8": "micro"}}, {"backbone_options": {"micro": {"wdth": 8}}}):
        monkeypatch.setattr(parts, "load_preset", lambda name, change=change: tiny.model_copy(update=change))
        with pytest.raises(VidreproError, match=r"resnet8|wdth"):
            invoke("train", "m2a/table1/none", *small())


def test_an_empty_value_is_refused_instead_of_meaning_the_default(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"'model\.weights' is given no value"):
        invoke("train", "m2a/table1/none", *small(), "--set", "model.weights=")


@pytest.mark.parametrize("width", ["10000000000", "1000000000000"])
def test_a_network_that_no_machine_can_hold_is_no_defect(width: str, here: Path) -> None:
    words = ["train", "m2a/table1/none", *small(model__backbone_options__width=width), "--results", "large"]
    done = run_here(*words)
    assert done.returncode == 2 and "the machine refused" in plain(done.stderr), done.stderr


@pytest.mark.parametrize(
    ("words", "number"),
    [(["evaluate", ""], 2), (["runs", "--results", ""], 3), (["runs", "--data="], 2), (["compare", "a", ""], 3)],
)
def test_an_empty_word_is_no_folder_and_no_beginning_of_a_name(words: list[str], number: int) -> None:
    done = run_here(*words)
    assert done.returncode == 2 and f"word {number} of the command says nothing" in plain(done.stderr), done.stderr
