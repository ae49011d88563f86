"""The command line as a user meets it: start-up, refusals, interruption, and the whole path on a small dataset."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.command_line import light_helps, run_here
from tests.conftest import make_toy_dataset

TOY_SETTINGS = [
    "model.backbone_options.width=8",
    "data.frames=4",
    "data.train_size=24",
    "data.eval_short_side=28",
    "data.eval_size=24",
    "train.batch_size=4",
    "train.warmup_epochs=1",
]
COMMANDS = (
    "prepare", "ablate", "train", "evaluate", "ensemble", "invert", "measure", "table", "compare", "explain", "show",
    "runs", "doctor", "import-checkpoint",
)  # fmt: skip
EXPLANATIONS = ("gradcam", "attention", "zoom", "energy")


def overrides(*more: str) -> list[str]:
    return [word for setting in (*TOY_SETTINGS, *more) for word in ("--set", setting)]


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vidrepro", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=cwd)


def toy_ablation(data: Path, results: Path, *more: str, epochs: int = 2) -> list[object]:
    folders = ["--data", data, "--results", results, "--dataset", "toy", "--preset", "tiny"]
    return ["ablate", "m2a", "--rows", "none,m2a", *folders, *overrides(f"train.epochs={epochs}"), *more]


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What the commands' ``--help`` print; in the process that printed them nothing heavy was imported."""
    return light_helps(["", *COMMANDS, *(f"explain {name}" for name in EXPLANATIONS)])


@pytest.mark.parametrize("command", [*COMMANDS, *(f"explain {name}" for name in EXPLANATIONS)])
def test_help_shows_examples_and_imports_nothing_heavy(command: str, helps: dict[str, str]) -> None:
    assert "Examples" in helps[command]


@pytest.mark.parametrize(("group", "names"), [("", COMMANDS), ("explain", EXPLANATIONS)])
def test_help_lists_every_command_and_no_other(group: str, names: tuple[str, ...], helps: dict[str, str]) -> None:
    listed = re.findall(r"^│ ([a-z-]+) ", helps[group].partition("Commands")[2], re.MULTILINE)
    assert sorted(listed) == sorted(names)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ablate", "m2b"], "m2a"),
        (["ablate", "m2a", "--table", "IX"], "table"),
        (["ablate", "m2a", "--rows", "m2a-motoin"], "m2a-motion"),
        (["ablate", "m2a", "--dry-run", "--preset", "tinny"], "tiny"),
        (["ablate", "m2a", "--dry-run", "--set", "train.epoch=3"], "epochs"),
        (["ablate", "m2a", "--seeds", "a,b"], "--seeds is not understood"),
        (["train", "m2a/table1/m2b"], "m2a/table1/m2a"),
        (["train", "m2a/table1/m2a", "--dataset", "synthetik"], "synthetic"),
        (["prepare", "synthetik"], "synthetic"),
        (["prepare", "synthetic", "--preset", "tinny"], "tiny"),
        (["table", "--paper", "m2b"], "m2a"),
        (["measure", "m2b"], "m2a"),
        (["show", "m2b"], "m2a"),
        (["evaluate", "nothing"], "no finished run"),
        (["ablate", "m2a", "--dry-run", "--backbone", "resnet81"], "resnet18"),
        (["ablate", "m2a", "--backbone", "resnet81"], "resnet18"),
        (["ablate", "m2a", "--set", "model.mechanism=m2b"], "m2a"),
        (["ablate", "m2a", "--set", "model.options.bondary=first"], "did you mean 'boundary'?"),
        (["ablate", "m2a", "--set", "model.options.boundary=frist"], "first"),
        (["ablate", "m2a", "--set", "model.backbone_options.wdth=3"], "width"),
        (["ablate", "m2a", "--weights", "none.pt"], "none.pt"),
        (["ablate", "m2a", "--device", "cuda:7"], "cuda:7"),
        (["ablate", "m2a", "--rows", "none,nowhere_at_all:Mine"], "cannot be imported"),
        (["ablate", "m2a", "--table", "VI", "--rows", "my_module:Mine"], "no place for a mechanism of your own"),
        (["ablate"], "Missing argument"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_wrong_names_are_refused_with_a_clean_panel(words: list[str], expected: str, tmp_path: Path) -> None:
    done = run_here(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "something was prepared or written before the refusal"
    assert expected in " ".join(done.stderr.replace("│", " ").split())


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = run("ablate", "m2b", "--debug", cwd=tmp_path)
    assert "Traceback" in done.stderr and "UnknownNameError" in done.stderr


def test_unknown_backbone_is_refused_before_training(toy_data: Path, tmp_path: Path) -> None:
    done = run_here(
        "train", "m2a/table1/m2a", "--dataset", "toy", "--backbone", "resnet81", "--data", toy_data, cwd=tmp_path
    )
    assert done.returncode == 2 and "resnet18" in done.stderr and "Traceback" not in done.stderr


def test_dry_run_lists_cells_and_does_nothing(tmp_path: Path) -> None:
    done = run_here("ablate", "m2a", "--table", "I,V", "--seeds", "0,1", "--dry-run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout)
    assert {cell["seed"] for cell in cells} == {0, 1}
    by_row = {cell["experiment"]: cell["config_fingerprint"] for cell in cells}
    assert by_row["m2a/table1/m2a"] == by_row["m2a/table5/m2a"]  # one config, one run, two tables
    assert all(cell["state"] == "synthetic not prepared" for cell in cells)
    assert list(tmp_path.iterdir()) == []


def test_dry_run_of_the_matrix_lists_its_twelve_cells(tmp_path: Path) -> None:
    done = run_here("ablate", "m2a", "--table", "VI", "--dry-run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout)
    named = [
        f"{motion}-{attention}" for motion in ("none", "m2a", "tdn", "tea") for attention in ("none", "m2a", "tam")
    ]
    assert [cell["experiment"] for cell in cells] == [f"m2a/table6/{name}" for name in named]
    assert len({cell["config_fingerprint"] for cell in cells}) == 12


@pytest.mark.parametrize(("backbone", "table"), [("mobilenetv2", "table2"), ("i3d-resnet18", "table3")])
def test_a_backbone_selects_its_table_unless_one_is_named(backbone: str, table: str, tmp_path: Path) -> None:
    words = ["ablate", "m2a", "--backbone", backbone, "--dry-run", "--json"]
    for more, expected in (([], table), (["--table", "I"], "table1")):
        cells = json.loads(run_here(*words, *more, cwd=tmp_path).stdout)
        assert [cell["experiment"] for cell in cells] == [
            f"m2a/{expected}/{row}" for row in ("none", "m2a-attention", "m2a-motion", "m2a")
        ]
        assert {cell["config"]["model"]["backbone"] for cell in cells} == {backbone}


def test_results_that_cannot_be_written_are_refused_before_anything_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file, not a folder")
    done = run_here("ablate", "m2a", "--results", tmp_path / "results", "--data", tmp_path / "data", cwd=tmp_path)
    assert done.returncode == 2 and "cannot write" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_an_option_of_a_mechanism_reaches_the_rows_that_have_it(tmp_path: Path) -> None:
    words = ["ablate", "m2a", "--table", "I", "--dry-run", "--json"]
    plain = json.loads(run_here(*words, cwd=tmp_path).stdout)
    changed = json.loads(run_here(*words, "--set", "model.options.boundary=first", cwd=tmp_path).stdout)
    pairs = zip(plain, changed, strict=True)
    differs = {one["experiment"]: one["config_fingerprint"] != two["config_fingerprint"] for one, two in pairs}
    assert differs == {
        "m2a/table1/none": False,
        "m2a/table1/m2a-attention": True,
        "m2a/table1/m2a-motion": True,
        "m2a/table1/m2a": True,
    }


def test_a_missing_and_a_shortened_clip_are_refused_by_name_and_line(tmp_path: Path) -> None:
    manifest = make_toy_dataset(tmp_path / "data", clips=6)
    victim = manifest.folder / "clips" / "003.mp4"
    content = victim.read_bytes()
    victim.write_bytes(content[:-10])
    command = ["train", "m2a/table1/none", "--dataset", "toy", "--preset", "tiny", "--data", tmp_path / "data"]
    for state in ("shorter", "gone"):
        done = run_here(*command, *overrides(), "--results", tmp_path / "results")
        text = " ".join(done.stderr.replace("│", " ").split())
        assert done.returncode == 2 and "Traceback" not in text, text
        assert "003.mp4" in text and "line 5" in text, (state, text)
        victim.unlink(missing_ok=True)


def interrupt_when(path_glob: str, base: Path, words: list[object], number: int) -> subprocess.CompletedProcess[str]:
    """Start a command and send it a signal as soon as a file matching the pattern appears."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vidrepro", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(base.glob(path_glob)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    out, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess([], process.returncode, out, errors)


def test_interrupted_train_goes_on_to_the_same_result(toy_data: Path, tmp_path: Path) -> None:
    words = ["train", "m2a/table1/m2a", "--dataset", "toy", "--preset", "tiny", "--data", toy_data]
    words += [*overrides("train.epochs=25"), "--threads", "1"]
    straight = run_here(*words, "--results", tmp_path / "straight")
    assert straight.returncode == 0, straight.stderr
    results = tmp_path / "resumed"
    stopped = interrupt_when("runs/*/best.pt", results, [*words, "--results", results], signal.SIGINT)
    assert stopped.returncode == 130 and "the same command continues" in stopped.stderr, stopped.stderr
    assert not list(results.glob("runs/*/run.json"))
    again = run_here(*words, "--results", results)
    assert again.returncode == 0, again.stderr
    one, two = (json.loads(next(path.glob("runs/*/run.json")).read_text()) for path in (tmp_path / "straight", results))
    assert one["history"] == two["history"] and one["best"] == two["best"] and one["id"] == two["id"]


@pytest.mark.usefixtures("trained_here")  # the same command again, after it was interrupted in a process of its own
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_ablation_goes_on_and_repeats_nothing(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("vidrepro.cost.paper_costs.measure_paper", lambda *_, **__: [])  # slow, and not tested here
    words = toy_ablation(toy_data, tmp_path, "--jobs", "1", epochs=2)
    stopped = interrupt_when("runs/*/run.json", tmp_path, words, number)  # the first row is done, the second not
    assert stopped.returncode in (130, -signal.SIGKILL), stopped.stderr
    finished = {path: path.read_bytes() for path in tmp_path.glob("runs/*/run.json")}
    if number == signal.SIGKILL:
        deadline = time.monotonic() + 60
        while any(str(tmp_path) in line for line in _processes()):  # the orphan sees that its parent is gone, and stops
            assert time.monotonic() < deadline
            time.sleep(0.1)
    again = run_here(*words)
    assert again.returncode == 0, again.stderr
    assert "runs are finished already" in again.stdout
    assert all(path.read_bytes() == content for path, content in finished.items())
    assert len(list(tmp_path.glob("runs/*/run.json"))) == 2
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".") and path.suffix in {".json", ".pt"}]


def _processes() -> list[str]:
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return lines


@pytest.mark.usefixtures("trained_here")
def test_ablation_prints_the_table_and_evaluate_reads_the_run(toy_data: Path, results: Path) -> None:
    done = run_here(*toy_ablation(toy_data, results))
    assert done.returncode == 0, done.stderr
    assert "34.7" in done.stdout and "toy" in done.stdout  # printed beside measured
    assert (results / "tables" / "m2a" / "table1.md").is_file()

    runs = [path.parent.name for path in results.glob("runs/*/run.json")]
    name = next(run for run in runs if "_none_" in run)
    record = json.loads((results / "runs" / name / "run.json").read_text())
    evaluated = run_here("evaluate", name, "--data", toy_data, "--results", results, "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    result = json.loads(evaluated.stdout)
    assert result["top1"] == record["best"]["top1"] and result["protocol"] == record["protocol"]
    views = run_here("evaluate", name, "--protocol", "4×3×2@24", "--data", toy_data, "--results", results, "--json")
    assert json.loads(views.stdout)["protocol"] == "4x3x2@24"
    frames = run_here("evaluate", name, "--protocol", "8x1x1@24", "--data", toy_data, "--results", results)
    assert frames.returncode == 2 and "another number of frames" in frames.stderr

    best = results / "runs" / name / "best.pt"
    content = torch.load(best, weights_only=True)
    torch.save({**content, "seed": 5}, best)
    foreign = run_here("evaluate", name, "--data", toy_data, "--results", results)
    assert foreign.returncode == 2 and "another seed" in foreign.stderr
    torch.save(content, best)

    other = next(run for run in runs if "_m2a_" in run)
    (results / "runs" / name / "best.pt").write_bytes((results / "runs" / other / "best.pt").read_bytes())
    swapped = run_here("evaluate", name, "--data", toy_data, "--results", results)
    assert swapped.returncode == 2 and "another architecture" in swapped.stderr

    (results / "runs" / name / "run.json").write_text('{"id": 3')
    damaged = run_here("evaluate", name, "--data", toy_data, "--results", results)
    assert damaged.returncode == 2 and "record cannot be read" in damaged.stderr


def test_other_start_weights_are_another_run(tmp_path: Path) -> None:
    words = ["ablate", "m2a", "--rows", "none", "--weights", tmp_path / "w.pt", "--dry-run", "--json"]
    seen = []
    for value in (1.0, 2.0):
        torch.save({"x": torch.tensor(value)}, tmp_path / "w.pt")
        (cell,) = json.loads(run_here(*words, cwd=tmp_path).stdout)
        seen.append(cell["config_fingerprint"])
    assert seen[0] != seen[1]


def test_json_stands_alone_while_the_embedded_dataset_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vidrepro.ablation.setting import select_setting
    from vidrepro.cli import ablate, prepare
    from vidrepro.cli.output import console

    monkeypatch.setattr(prepare, "prepare_dataset", lambda *words, **options: print("prepared"))
    setting = select_setting("m2a", dataset="auto", preset=None, backbone=None, overrides=None, data=tmp_path)
    ablate._prepare_embedded(console(for_json=True), setting, json=True)
    out, errors = capsys.readouterr()
    assert out == "" and "prepared" in errors


def test_doctor_knows_the_broken_pair_and_its_remedy() -> None:
    from vidrepro.diagnosis import known_mismatch

    finding = known_mismatch("2.13.0+cpu", "0.28.0", "RuntimeError: operator torchvision::nms does not exist")
    assert finding is not None and finding.state == "broken"
    assert finding.remedy is not None and "torch torchvision" in finding.remedy
    assert known_mismatch("2.13.0+cpu", "0.28.0+cu130", None) is not None
    assert known_mismatch("2.15.0+cu130", "0.29.2+cu130", None) is None


def test_doctor_reports_versions_codecs_and_datasets(toy_data: Path) -> None:
    done = run_here("doctor", "--data", toy_data, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {(item["topic"], item["name"]): item for item in json.loads(done.stdout)}
    assert found["codecs", "encoder libx264"]["state"] == "ok"
    assert "train 16 (0 bad)" in found["datasets", "toy"]["detail"]
    assert ("versions", "torch") in found and ("devices", "cpu") in found


def test_module_and_script_are_the_same_command() -> None:
    script = Path(sys.executable).parent / "vidrepro"
    assert script.is_file()
    assert subprocess.run([script, "--version"], capture_output=True, text=True).stdout == run("--version").stdout
