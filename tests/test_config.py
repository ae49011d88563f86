"""Settings: what is refused and how, what the fingerprint depends on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidrepro.config import Protocol, RunConfig, TrainConfig, load_yaml, parse_override, resolve
from vidrepro.errors import ConfigError

BASE = ("base", {"dataset": "synthetic", "model": {"backbone": "micro"}})


def test_later_layers_win_key_by_key() -> None:
    config = resolve(
        [BASE, ("row", {"train": {"epochs": 3, "batch_size": 8}}), ("preset", {"train": {"epochs": 5}})],
        ["train.epochs=7", "model.options.reduction=4"],
    )
    assert (config.train.epochs, config.train.batch_size) == (7, 8)
    assert config.model.options == {"reduction": 4}


def test_unknown_keys_are_named_with_their_source_and_the_nearest_valid_one() -> None:
    with pytest.raises(ConfigError, match=r"--set: unknown key 'train\.epoch'; did you mean epochs"):
        resolve([BASE], ["train.epoch=3"])
    with pytest.raises(ConfigError, match=r"row: unknown key 'modle'; did you mean model"):
        resolve([BASE, ("row", {"modle": {}})])


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve([BASE], ["train.epochs=0", "data.flip=maybe", "model.variant=mine"])
    text = str(caught.value)
    assert all(key in text for key in ("train.epochs", "data.flip", "model.variant"))
    assert "'maybe'" in text


@pytest.mark.parametrize("text", ["train.epochs", "=3", "train..epochs=3", "train.epochs=[1", "a b=1"])
def test_malformed_overrides_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not understood"):
        parse_override(text)


def test_a_section_cannot_be_replaced_by_a_number() -> None:
    with pytest.raises(ConfigError, match="train"):
        resolve([BASE], ["train=3"])


def test_fingerprint_changes_with_any_setting_and_with_nothing_else() -> None:
    plain = resolve([BASE])
    assert plain.fingerprint == resolve([BASE]).fingerprint
    assert RunConfig.model_validate(plain.model_dump(mode="json")).fingerprint == plain.fingerprint
    changes = ["train.epochs=31", "data.flip=always", "model.temporal_shift=true", "model.options.skip=x", "dataset=b"]
    assert len({plain.fingerprint, *(resolve([BASE], [change]).fingerprint for change in changes)}) == 6


def test_settings_added_later_leave_recorded_runs_their_identity_and_count_when_set() -> None:
    """The digest of these settings was taken before any of them existed."""
    plain = resolve([BASE])
    assert plain.fingerprint == "20ff1c014629"
    changes = {
        "data.train_resize=[256, 342]",
        "data.crop_area=[0.2, 1]",
        "data.crop_aspect=[1, 1]",
        "data.colour_jitter=[0.1, 0.4, 0.4, 0.05]",
        "data.eval_resize=[256, 342]",
        "data.eval_average=softmax",
        "data.fold=split2",
        "data.task=noun",
    }
    others = {resolve([BASE], [change]).fingerprint for change in changes}
    others.add(resolve([BASE], ["data.train_sampling=strided", "data.stride=2"]).fingerprint)
    others.add(resolve([BASE], ["data.train_sampling=strided"]).fingerprint)
    others.add(resolve([BASE], ["train.schedule=cosine", "train.min_learning_rate=0.001"]).fingerprint)
    others.add(resolve([BASE], ["train.schedule=cosine"]).fingerprint)
    for setting in ("plateau_factor=0.1", "plateau_factor=0.5", "plateau_patience=3", "plateau_threshold=0.01"):
        others.add(resolve([BASE], ["train.schedule=plateau", f"train.{setting}"]).fingerprint)
    assert len(others | {plain.fingerprint}) == len(changes) + 9


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["data.eval_clips=10"], "eval_clips 10 cannot be had by tsm-val, which takes 1 or 2"),
        (["data.eval_sampling=two-segments"], "eval_clips 1 cannot be had by two-segments, which takes 2"),
        (["data.eval_sampling=strided", "data.eval_clips=11"], "data.eval_clips"),
        (["data.stride=2"], "stride 2 has no effect"),
        (["data.eval_resize=[200, 300]"], r"eval_size 224 does not fit into eval_resize \(200, 300\)"),
        (["data.crop=random", "data.train_resize=[200, 300]"], "train_size 224 does not fit"),
        (["data.crop_area=[0.5, 1.5]"], "at most 1"),
        (["data.crop_aspect=[2, 1]"], "the smaller one first"),
        (["data.colour_jitter=[0.1, 0.1, 0.1, 0.6]"], "hue in 0 to 0.5"),
        (["train.min_learning_rate=0.001"], "no effect with schedule step"),
        (["train.schedule=cosine", "train.min_learning_rate=0.1"], "above learning_rate"),
        (["train.schedule=plateau", "train.min_learning_rate=0.001"], "no effect with schedule plateau"),
        (["train.plateau_patience=3"], "plateau_patience has no effect with schedule step"),
        (["train.schedule=cosine", "train.plateau_factor=0.5"], "plateau_factor has no effect with schedule cosine"),
        (["train.schedule=plateau", "train.plateau_factor=1.0"], "plateau_factor"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        resolve([BASE], changes)


def test_weights_are_identified_by_content_not_by_name() -> None:
    def fingerprint(name: str, digest: str) -> str:
        return resolve([BASE], [f"model.weights={name}", f"model.weights_digest={digest}"]).fingerprint

    assert fingerprint("a.pt", "a11") == fingerprint("elsewhere/b.pt", "a11") != fingerprint("a.pt", "a22")
    assert resolve([BASE]).fingerprint != fingerprint("a.pt", "a11")


@given(st.tuples(*[st.integers(1, 99)] * 3), st.integers(8, 512), st.sampled_from("x×"))
def test_protocol_text_round_trip(counts: tuple[int, int, int], size: int, sign: str) -> None:
    protocol = Protocol.parse(f"{sign.join(map(str, counts))}@{size}")
    assert Protocol.parse(str(protocol)) == protocol
    assert protocol.views == counts[1] * counts[2]


@pytest.mark.parametrize("text", ["8x1@224", "8x1x1", "0x1x1@224", "8x1x1@4", "axbxc@d", "", "\u0668x1x1@224"])
def test_wrong_protocols_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="protocol"):
        Protocol.parse(text)


def test_crop_larger_than_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match="eval_size 224 does not fit"):
        resolve([BASE], ["data.eval_short_side=200"])


def test_effective_learning_rate_scales_only_when_asked() -> None:
    plain = TrainConfig(learning_rate=0.02, batch_size=32, accumulation=4)
    assert plain.effective_learning_rate == 0.02
    scaled = plain.model_copy(update={"base_batch": 64})
    assert scaled.effective_learning_rate == pytest.approx(0.04)  # 128 clips a step instead of 64


def test_yaml_faults_name_file_and_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: 1\nb: [1,\n")
    with pytest.raises(ConfigError) as caught:
        load_yaml(bad)
    assert caught.value.where is not None and "line" in caught.value.where
    bad.write_text("- 1\n")
    with pytest.raises(ConfigError, match="mapping"):
        load_yaml(bad)
    with pytest.raises(ConfigError, match="cannot read"):
        load_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("train.epochs=010", 10),
        ("train.learning_rate=1e-3", 0.001),
        ("train.learning_rate=1", 1),
        ("train.epochs= 3", 3),
    ],
)
def test_numbers_arrive_as_they_are_written(text: str, value: float) -> None:
    assert getattr(resolve([BASE], [text]).train, text.split("=")[0].removeprefix("train.")) == value


@pytest.mark.parametrize(
    "text",
    [
        *["train.epochs=1:30", "train.epochs=true", "train.epochs=3.0", "train.epochs=0", "train.epochs='3'"],
        *["train.epochs=1_0", "train.epochs=18446744073709551616", "data.frames=-1", "data.eval_crops=true"],
        *[
            "train.learning_rate=.inf",
            "train.learning_rate=.nan",
            "train.learning_rate=1e999",
            "train.learning_rate=true",
        ],
        *["model.temporal_shift=yes", "model.temporal_shift=1", "train.step_epochs=[1, 2.0]", "train.step_epochs=[-1]"],
        *["data.train_resize=[0, 0]", "data.colour_jitter=[.nan, 0, 0, 0]", "data.crop_scales=['1']"],
    ],
)
def test_values_of_another_kind_or_range_are_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve([BASE], [text])
    assert text.split("=")[0] in str(caught.value)


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e400"])
@pytest.mark.parametrize("section", ["options", "backbone_options"])
def test_an_option_is_finite_or_refused_by_name(section: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"model.{section}: scale takes a finite number"):
        resolve([BASE], [f"model.{section}.scale={value}"])


NAMES = [
    *["good #2.pt", "~", "~/x.pt", "a: b.pt", "@best.pt", "[v2] best.pt", "2024", "true", "1e3", "*", "?", "{x}", "%s"],
    *["'a'", '"', " lead", "a=b", "new\nline", "weights_digest.pt", "Null", "[/x]", "&a", "!x", "#", "-x"],
]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_what_is_typed(name: str) -> None:
    assert resolve([BASE], [f"model.weights={name}"]).model.weights == name
    assert resolve([BASE], [f"data.fold={name}"]).data.fold == name


def test_null_leaves_out_what_may_be_absent_and_nothing_at_all_is_refused() -> None:
    assert resolve([BASE], ["model.weights=a", "model.weights=null"]).model.weights is None
    assert resolve([BASE], ["train.gradient_clip=null"]).train.gradient_clip is None
    for text in ("model.weights=", "train.gradient_clip=", "data.fold= "):
        with pytest.raises(ConfigError, match="is given no value"):
            resolve([BASE], [text])
