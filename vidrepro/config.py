"""One run's settings, strictly typed: unknown keys are refused by name, all faults are reported at once.

A `RunConfig` is resolved from layers (preset, table, row, command line), has every default filled in, and is
identified by its fingerprint: whatever can change a result is in here, whatever cannot (folders, number of workers,
threads) is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vidrepro.errors import ConfigError, ModelError, closest
from vidrepro.files import fingerprint

Scalar = bool | int | float | str | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Protocol(_Strict):
    """What a score was measured on: ``frames×crops×clips@size``, e.g. ``8x1x1@224``."""

    frames: int = Field(ge=1)
    crops: int = Field(ge=1)
    clips: int = Field(ge=1)
    size: int = Field(ge=8)

    @property
    def views(self) -> int:
        """Forward passes a clip costs under this protocol."""
        return self.crops * self.clips

    def __str__(self) -> str:
        return f"{self.frames}x{self.crops}x{self.clips}@{self.size}"

    @classmethod
    def parse(cls, text: str) -> Protocol:
        """Read ``8x1x1@224`` (``x`` or ``×``).

        Raises:
            ConfigError: if the text has another form or a number is out of range.
        """
        match = re.fullmatch(r"\s*(\d+)[x×](\d+)[x×](\d+)@(\d+)\s*", text)
        try:
            if match is None:
                raise ValueError
            frames, crops, clips, size = map(int, match.groups())
            return cls(frames=frames, crops=crops, clips=clips, size=size)
        except ValueError as error:
            raise ConfigError(
                f"protocol '{text}' is not understood",
                given=text,
                allowed="frames x crops x clips @ size, each a positive number, e.g. 8x1x1@224",
            ) from error


_COMPOSITION = re.compile(r"[\s(]*(ST|C)(?!\w)|[\s(]*(ST|C)in(ST|C)")


class ModelConfig(_Strict):
    """The network: see `vidrepro.models.build_model`, which takes these as they stand."""

    backbone: str
    mechanism: str = "none"
    mechanism_digest: str | None = None  # of the source of a mechanism given as package.module:Class
    temporal_shift: bool = False
    variant: Literal["official", "paper"] = "official"
    options: dict[str, Scalar] = {}  # of the mechanism, each overriding one choice of the variant
    backbone_options: dict[str, Scalar] = {}  # e.g. width, stem
    dropout: float = Field(0.5, ge=0, lt=1)
    head_std: float = Field(0.001, gt=0)  # of the linear layer's start; the released 0.001 suits a pretrained backbone
    weights: str | None = None  # "imagenet", a file, or None for a random start
    weights_digest: str | None = None  # of that file: it, not the file's name, is part of a run's identity

    @field_validator("mechanism")
    @classmethod
    def _one_notation(cls, mechanism: str) -> str:
        """Equal compositions of AIA's units are equal runs: ``C → ST`` is ``C->ST``."""
        if not (_COMPOSITION.match(mechanism) and re.search(r"[→\s()]", mechanism)):
            return mechanism
        from vidrepro.models.mechanisms import normal_text  # imports torch

        try:
            return normal_text(mechanism)
        except ModelError:  # refused where the network is built, as one given to `build_model` is
            return mechanism


class DataConfig(_Strict):
    """How clips become tensors, in training and in evaluation (specs: TSM's loader and M2A's scripts)."""

    frames: int = Field(8, ge=1)
    train_sampling: Literal["tsm-train", "tsm-val", "tsm-test", "uniform-jitter"] = "tsm-train"
    eval_sampling: Literal["tsm-val", "tsm-test"] = "tsm-val"
    train_size: int = Field(224, ge=8)  # side of the square crop fed to the network
    crop: Literal["multi-scale", "centre"] = "multi-scale"
    crop_scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    crop_max_distortion: int = Field(1, ge=0)
    flip: Literal["none", "swap", "always"] = "none"
    eval_short_side: int = Field(256, ge=8)  # frames are resized to this before the crop
    eval_size: int = Field(224, ge=8)
    eval_crops: Literal[1, 3] = 1
    eval_clips: Literal[1, 2] = 1
    fold: str | None = None  # an official division into splits in place of the manifest's own, e.g. split2
    task: str | None = None  # another label set of the same clips, e.g. noun

    @field_validator("crop_scales")
    @classmethod
    def _scales_in_range(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if not scales or any(not 0 < scale <= 1 for scale in scales):
            raise ValueError("crop_scales needs at least one number in (0, 1]")
        return scales

    @model_validator(mode="after")
    def _crop_fits(self) -> DataConfig:
        if self.eval_size > self.eval_short_side:
            raise ValueError(f"eval_size {self.eval_size} does not fit into eval_short_side {self.eval_short_side}")
        return self

    @property
    def protocol(self) -> Protocol:
        """The evaluation protocol these settings amount to."""
        return Protocol(frames=self.frames, crops=self.eval_crops, clips=self.eval_clips, size=self.eval_size)


class TrainConfig(_Strict):
    """SGD recipe. Epochs count from 0; a step schedule decays when a listed epoch begins."""

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(32, ge=1)
    accumulation: int = Field(1, ge=1)  # batches per optimiser step; leftovers at an epoch's end are dropped
    learning_rate: float = Field(0.02, gt=0)
    base_batch: int | None = Field(None, ge=1)  # if set, the rate is scaled by (batch_size * accumulation) / base_batch
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["step", "cosine", "one-cycle", "constant"] = "step"
    step_epochs: tuple[int, ...] = (20,)
    step_factor: float = Field(0.1, gt=0, le=1)
    warmup_epochs: float = Field(0, ge=0)  # one-cycle: length of its rising part
    gradient_clip: float | None = Field(20.0, gt=0)  # total L2 norm
    frozen_batch_norm: Literal["none", "all-but-first"] = "none"  # TSM's partial BN, off with its --npb
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    evaluate_every: int = Field(1, ge=1)  # epochs; the last epoch is always evaluated

    @property
    def effective_batch(self) -> int:
        """Clips per optimiser step."""
        return self.batch_size * self.accumulation

    @property
    def effective_learning_rate(self) -> float:
        """The peak learning rate really used."""
        return self.learning_rate * (self.effective_batch / self.base_batch if self.base_batch else 1.0)


class RunConfig(_Strict):
    """Everything that determines a run but the dataset's content and the seed."""

    dataset: str
    model: ModelConfig
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits over the resolved settings."""
        settings = self.model_dump(mode="json")
        digest = settings["model"].pop("weights_digest")
        if digest is not None:
            settings["model"]["weights"] = digest
        if settings["model"]["mechanism_digest"] is None:  # left out: it is about a user's own class only
            del settings["model"]["mechanism_digest"]
        for key in ("fold", "task"):  # left out where the manifest's own splits and labels are used
            if settings["data"][key] is None:
                del settings["data"][key]
        return fingerprint(settings)[:12]


def resolve(layers: Iterable[tuple[str, Mapping[str, Any]]], overrides: Iterable[str] = ()) -> RunConfig:
    """Merge layers of settings, later ones winning key by key, into a run's config.

    Args:
        layers: ``(where it comes from, nested settings)``; the source is named when a key of it is wrong.
        overrides: ``key=value`` texts, value in YAML, e.g. ``train.epochs=3``; applied last.

    Raises:
        ConfigError: listing every fault: unknown keys with the nearest valid one, wrong types, values out of range.
    """
    merged: dict[str, Any] = {}
    faults: list[str] = []
    for source, settings in [*layers, *(("--set", parse_override(text)) for text in overrides)]:
        faults += [f"{source}: {fault}" for fault in _unknown_keys(settings, RunConfig)]
        _merge(merged, settings)
    if not faults:
        try:
            return RunConfig.model_validate(merged)
        except ValidationError as error:
            faults = [_fault_text(item) for item in error.errors()]
    raise ConfigError(
        "the settings cannot be used" if len(faults) > 1 else faults[0],
        allowed="\n    " + "\n    ".join(faults) if len(faults) > 1 else None,
        hint="vidrepro show PAPER lists the settings of every row",
    )


def parse_override(text: str) -> dict[str, Any]:
    """``train.epochs=3`` → ``{"train": {"epochs": 3}}``.

    Raises:
        ConfigError: if there is no ``=``, no key, or the value is not YAML.
    """
    key, separator, value_text = text.partition("=")
    try:
        if not separator or not re.fullmatch(r"[A-Za-z_][\w-]*(\.[\w-]+)*", key.strip()):
            raise ValueError
        value = yaml.safe_load(value_text)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"override '{text}' is not understood", given=text, allowed="key=value, e.g. train.epochs=3"
        ) from error
    for part in reversed(key.strip().split(".")):
        value = {part: value}
    return value  # type: ignore[no-any-return]


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: if the file is missing, is not YAML (with its line), or is not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read '{path}': {error.strerror}", where=path) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where: Any = (path, mark.line + 1) if mark else path
        raise ConfigError(f"not valid YAML: {getattr(error, 'problem', error)}", where=where) from error
    if not isinstance(content, dict):
        raise ConfigError("expected a mapping at the top of the file", given=type(content).__name__, where=path)
    return content


_FREE_KEYS = {"options", "backbone_options"}  # checked by build_model, which knows each mechanism's own


def _unknown_keys(settings: Mapping[str, Any], model: type[BaseModel], prefix: str = "") -> list[str]:
    faults = []
    for key, value in settings.items():
        field = model.model_fields.get(key)
        if field is None:
            near = closest(key, model.model_fields, count=1)
            better = near[0] if near else ", ".join(sorted(model.model_fields))
            faults.append(f"unknown key '{prefix}{key}'; {'did you mean' if near else 'valid keys are'} {better}")
        elif isinstance(value, Mapping) and key not in _FREE_KEYS and _is_section(field.annotation):
            faults += _unknown_keys(value, field.annotation, f"{prefix}{key}.")  # type: ignore[arg-type]
    return faults


def _merge(target: dict[str, Any], settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = dict(value) if isinstance(value, Mapping) else value


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fault_text(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "config"
    given = "" if isinstance(item["input"], Mapping) else f", given {item['input']!r}"
    return f"{key}: {item['msg'].removeprefix('Value error, ')}{given}"
