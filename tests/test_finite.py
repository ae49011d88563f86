"""NaN and infinite values: refused by the name of what made them where they would be saved, scored, drawn or loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import plain, run_here
from short_runs import MICRO, toy_ablation, train_shortly

from vidrepro.__main__ import main
from vidrepro.config import RunConfig, resolve
from vidrepro.data.manifest import Manifest
from vidrepro.errors import CheckpointError, ModelError, NotFiniteError, ResultsError, TrainingError
from vidrepro.evaluation.probe_run import probe_run
from vidrepro.evaluation.rerun import evaluate_run, load_trained
from vidrepro.evaluation.scores import Scores, load_scores, save_scores
from vidrepro.explain.attention_strip import show_attention
from vidrepro.explain.gradcam_strip import explain_clip
from vidrepro.explain.shown_clips import Network
from vidrepro.files import atomic_write_json, read_json
from vidrepro.finite import require_finite
from vidrepro.models import build_model
from vidrepro.models.released.importing import import_checkpoint
from vidrepro.runs.checkpoint import load_checkpoint
from vidrepro.runs.record import read_record, read_run
from vidrepro.training.loop import Interrupted, Trainer

CPU = torch.device("cpu")
NAN, INF = float("nan"), float("inf")


def trainer(config: RunConfig, toy: Manifest, folder: Path, *overrides: str, **options: Any) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(resolve([("base", config.model_dump())], overrides), toy, 0, folder, device=CPU, **options)


@pytest.fixture(scope="module")
def trained(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of M2A."""
    return train_shortly(tmp_path_factory.mktemp("trained"), toy_data, "toy", MICRO | {"mechanism": "m2a"})


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    import shutil

    return Path(shutil.copytree(trained, tmp_path / "runs" / trained.name))


def spoil(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = torch.load(file, weights_only=True)
    change(content)
    torch.save(content, file)


@pytest.fixture
def overflowing(run: Path) -> Path:
    """A run whose weights are finite and whose logits are not."""

    def enlarge(content: dict[str, Any]) -> None:
        for name, tensor in content["model"].items():
            if name.endswith("bn2.bias") or name == "fc.weight":
                tensor.fill_(1e20)

    spoil(run / "best.pt", enlarge)
    return run


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("average", ["logits", "softmax"])
def test_logits_that_are_not_finite_are_no_score(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path, value: float, average: str
) -> None:
    broken = trainer(toy_config, toy, tmp_path / "some-run", f"data.eval_average={average}")

    def spoil_last_clip(module: Any, inputs: Any, logits: torch.Tensor) -> None:
        if not module.training:
            logits[-1, 0] = value

    broken.model.fc.register_forward_hook(spoil_last_clip)
    with pytest.raises(NotFiniteError, match="scores by some-run after epoch 1 are not finite") as refusal:
        broken.run()
    assert "clip '023'" in str(refusal.value.given) and "022" not in str(refusal.value.given)
    assert not list((tmp_path / "some-run").iterdir())


@pytest.mark.parametrize(
    ("name", "spoilt"),
    [
        ("backbone.bn1.running_var", lambda one: one.model.backbone.bn1.running_var),
        ("fc.weight", lambda one: one.model.fc.weight.data),
        ("momentum of fc.bias", lambda one: one.optimizer.state[one.model.fc.bias]["momentum_buffer"]),
    ],
)
@pytest.mark.parametrize("stop", [False, True])
def test_what_a_last_step_ruined_is_named_and_not_saved(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path, name: str, spoilt: Any, stop: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The loss is finite; only the values after the eighth step, the last of epoch 2, are not."""
    diverging = trainer(toy_config, toy, tmp_path / "run", stop=False)
    step, steps = Trainer._step, []

    def spoiling_step(self: Trainer) -> None:
        step(self)
        steps.append(1)
        if len(steps) == 8:
            spoilt(self)[0] = INF
            self.stop = stop  # type: ignore[assignment]  # and the run is asked to stop at this very step

    monkeypatch.setattr(Trainer, "_step", spoiling_step)
    with pytest.raises(TrainingError, match=r"after (batch 4 of )?epoch 2 values are not finite") as refusal:
        diverging.run()
    assert f"{name} (" in str(refusal.value.given) and str(tmp_path / "run") in str(refusal.value)
    assert load_checkpoint(tmp_path / "run" / "last.pt")["state"]["epoch"] == 1
    assert (tmp_path / "run" / "best.pt").is_file()


def test_a_mask_of_minus_infinity_is_meant(toy: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = tmp_path / "run"
    for stop in (lambda: True, None):
        masked = trainer(toy_config, toy, folder, "train.epochs=1", stop=None)
        masked.model.register_buffer("mask", torch.full((2, 2), -INF).triu(1))
        masked._finite = type(masked._finite)(masked.model, folder)
        if stop is None:
            assert masked.restore()
        else:
            masked.stop = True  # type: ignore[assignment]
            with pytest.raises(Interrupted):
                masked.run()
    masked.stop = None
    assert masked.run().best is not None


def test_a_buffer_that_starts_as_nan_is_refused(toy: Manifest, toy_config: RunConfig, tmp_path: Path) -> None:
    """It would be saved, and refused by whatever loads it."""
    one = trainer(toy_config, toy, tmp_path / "run", stop=None)
    one.model.register_buffer("seen", torch.full((2,), float("nan")))
    with pytest.raises(ModelError, match="start values") as refusal:
        type(one._finite)(one.model, tmp_path / "run")
    assert "seen (" in str(refusal.value.given)


def test_a_network_that_starts_with_nan_is_refused(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidrepro.training import loop

    build = loop.build_from_config

    def uninitialised(*words: Any, **options: Any) -> Any:
        model = build(*words, **options)
        model.fc.weight.data[0, 3] = NAN
        return model

    monkeypatch.setattr(loop, "build_from_config", uninitialised)
    with pytest.raises(ModelError, match=r"start values are not finite(?s:.*)fc.weight \(1 of"):
        trainer(toy_config, toy, tmp_path / "run")


def test_a_checkpoint_is_resumed_only_if_it_is_finite_and_whole(
    toy: Manifest, toy_config: RunConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        trainer(toy_config, toy, folder, stop=True).run()
    last = folder / "last.pt"
    saved = last.read_bytes()
    for change, says in (
        (lambda content: content["model"]["fc.bias"].fill_(NAN), r"fc\.bias \(2 of 2"),
        (lambda content: content["optimizer"]["state"][0]["momentum_buffer"].fill_(INF), "momentum of backbone"),
        (lambda content: content.pop("optimizer"), "not whole"),
        (lambda content: content["state"].update(surplus=1), "not whole"),
    ):
        last.write_bytes(saved)
        spoil(last, change)
        with pytest.raises(CheckpointError, match=f"(?s){says}.*") as refusal:
            trainer(toy_config, toy, folder).restore()
        assert str(last) in str(refusal.value)


def test_no_command_shows_what_a_network_could_not_compute(overflowing: Path, toy_data: Path) -> None:
    before = sorted(path.name for path in overflowing.rglob("*"))
    name = overflowing.name
    with pytest.raises(NotFiniteError, match=f"scores by {name} are not finite(?s:.*)clip '016'"):
        evaluate_run(overflowing, data=toy_data, device="cpu")
    with pytest.raises(NotFiniteError, match="attention values of clips 1 to 8 of the evaluation are not finite"):
        probe_run(overflowing, data=toy_data, how="mean", device="cpu")
    network = Network("m2a", load_trained(overflowing, data=toy_data), "val")
    with pytest.raises(NotFiniteError, match=f"{name} computes for clip '017': .*not finite(?s:.*)logits"):
        explain_clip([network], ["layer2"], "017")
    with pytest.raises(NotFiniteError, match=f"{name} computes for clip '017'"):
        show_attention(network, "017")
    assert sorted(path.name for path in overflowing.rglob("*")) == before


def test_attention_that_is_not_finite_is_not_replaced(run: Path, toy_data: Path) -> None:
    from vidrepro.evaluation.probe import probing, taps_of

    model = load_trained(run, data=toy_data).model.eval()
    name, tap = next(iter(taps_of(model).items()))
    tap.register_forward_hook(lambda module, inputs, gate: gate * NAN)
    with (
        torch.no_grad(),
        probing(model, "all", "mean"),
        pytest.raises(NotFiniteError, match=rf"attention values of clips 1 to 2(?s:.*){name}"),
    ):
        model(torch.zeros(2, 4, 3, 24, 24))


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e300])
def test_a_weight_file_is_refused_by_its_tensor(tmp_path: Path, value: float) -> None:
    """1e300 is finite in the file's double precision, not in the network's."""
    state = {
        name: tensor.double() for name, tensor in build_model("micro", "none", frames=4, classes=3).state_dict().items()
    }
    state["backbone.layer2.0.conv1.weight"][0, 0] = value
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"backbone\.layer2\.0\.conv1\.weight \(9 of") as refusal:
        build_model("micro", "none", frames=4, classes=3, weights=tmp_path / "w.pt")
    assert str(tmp_path / "w.pt") in str(refusal.value)
    state["backbone.layer2.0.conv1.weight"][0, 0] = 0
    # A linear layer of another number of classes is not loaded, and so not judged
    state["fc.weight"] = torch.full((9, 64), value, dtype=torch.float64)
    torch.save(state, tmp_path / "w.pt")
    assert build_model("micro", "none", frames=4, classes=3, weights=tmp_path / "w.pt").load_report is not None


def test_an_import_is_refused_by_its_tensor(tmp_path: Path) -> None:
    from parity_tools import read_parity

    state = dict(read_parity("m2a_mbv2_motion").state_dict)
    state["base_model.features.0.1.running_var"] = torch.full((32,), INF)
    torch.save(state, tmp_path / "m2a.pth")
    with pytest.raises(CheckpointError, match=r"m2a\.pth(?s:.*)features\.0\.1\.running_var \(32 of 32"):
        import_checkpoint(tmp_path / "m2a.pth", backbone="mobilenetv2", mechanism="m2a-motion")


def test_scores_are_finite_when_written_and_when_read(tmp_path: Path) -> None:
    logits = np.zeros((3, 2), np.float32)
    good = Scores(np.array(["a", "b", "c"]), np.array([0, 1, 0]), logits, "f", "8x1x1@24")
    path = tmp_path / "s.npz"
    save_scores(path, good)
    logits[1, 0] = NAN
    with pytest.raises(NotFiniteError, match=r"not finite(?s:.*)clip 'b'"):
        save_scores(path, good)
    assert np.isfinite(load_scores(path).logits).all()  # what was there stays
    with np.load(path) as file:
        np.savez(path, **{**file, "logits": logits})
    with pytest.raises(NotFiniteError, match=r"not finite(?s:.*)clip 'b'(?s:.*)s\.npz|s\.npz"):
        load_scores(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": np.array([0, 7, 0])}, "no class of 2"),
        ({"labels": np.array([0, 1])}, "do not fit"),
        ({"logits": np.zeros(3, np.float32)}, "do not fit"),
        ({"ids": np.array([], np.str_), "labels": np.array([], np.int64)}, "do not fit"),
    ],
)
def test_score_files_whose_parts_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "s.npz"
    save_scores(path, Scores(np.array(["a", "b", "c"]), np.array([0, 1, 0]), np.zeros((3, 2), np.float32), "f", "8x1"))
    with np.load(path) as file:
        np.savez(path, **{**file, **change})
    with pytest.raises(ResultsError, match=f"cannot read scores: .*{says}"):
        load_scores(path)


def test_a_damaged_score_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    logits = np.random.default_rng(0).random((50, 9)).astype(np.float32)
    save_scores(path, Scores(np.arange(50).astype(str), np.zeros(50, np.int64), logits, "f", "8x1"))
    content = path.read_bytes()
    for place in range(0, len(content), 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            load_scores(path)
        except ResultsError as refusal:
            assert str(path) in str(refusal)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("key", ["best", "history"])
def test_a_record_with_such_a_number_is_refused_by_its_file(
    run: Path, literal: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((run / "run.json").read_text())
    (record["best"] if key == "best" else record["history"][0])["val" if key == "best" else "loss"] = "HERE"
    (run / "run.json").write_text(json.dumps(record).replace('"HERE"', literal))
    for read in (lambda: read_run(run / "run.json"), lambda: read_record(run)):
        with pytest.raises(ResultsError, match="record cannot be read") as refusal:
            read()
        assert literal in str(refusal.value) and str(run / "run.json") in str(refusal.value)
    with pytest.raises(SystemExit) as end:
        main(["runs", "--results", str(run.parent.parent)])
    assert end.value.code == 2 and "defect" not in capsys.readouterr().err


def test_json_is_refused_by_the_place_in_it(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError, match=r"taps\.1\.moved is not finite"):
        atomic_write_json(tmp_path / "x.json", {"taps": [{"moved": 1.0}, {"moved": NAN}], "top1": 3})
    assert not list(tmp_path.iterdir())
    (tmp_path / "x.json").write_text('{"a": 1e308, "b": -2}')
    assert read_json(tmp_path / "x.json") == {"a": 1e308, "b": -2}


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.float8_e4m3fn])
def test_every_kind_of_number_is_looked_at(kind: torch.dtype) -> None:
    values = torch.zeros(4).to(kind)
    require_finite("x", {"a": values, "b": torch.ones(2, dtype=torch.int64), "c": np.array(["text"])})
    values[1] = NAN
    with pytest.raises(NotFiniteError, match=r"x are not finite\n.*NaN or infinite in a \(1 of 4 values\), of 2"):
        require_finite("x", {"a": values, "b": torch.ones(2, dtype=torch.int64)})


@pytest.mark.usefixtures("trained_here")
def test_an_ablation_goes_on_when_a_row_diverges_and_says_so_last(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other rows are trained, and the table of what there is comes before the refusal."""
    from vidrepro.cli import table
    from vidrepro.training import loop

    build = loop.build_from_config

    def diverging(config: Any, **options: Any) -> Any:
        model = build(config, **options)
        if config.mechanism == "none":
            model.fc.register_forward_hook(lambda module, inputs, logits: logits * NAN)
        return model

    monkeypatch.setattr(loop, "build_from_config", diverging)
    monkeypatch.setattr(table, "write_tables", lambda *_, **__: print("the table"))
    done = run_here(*toy_ablation(toy_data, tmp_path))
    told = plain(done.stderr)
    assert done.returncode == 2 and "defect" not in told
    assert "the run toy_micro_none" in told and "the loss is no longer finite in epoch 1, batch 1" in told
    assert "failed: m2a/table1/none seed 0" in done.stdout and "the table" in done.stdout
    assert [path.parent.name.split("_")[2] for path in tmp_path.glob("runs/*/run.json")] == ["m2a"]
