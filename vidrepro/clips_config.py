"""Settings of clips: what the network is shown in training and in evaluation, and the protocol that amounts to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vidrepro.errors import ConfigError


class Strict(BaseModel):
    """Refuses unknown keys, values of another type (``true`` is no number, 3.0 no whole one), inf and nan; frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        """YAML and JSON have no tuples."""
        return tuple(value) if isinstance(value, list) else value


# Above any sense, below what an integer of C holds: more is a slip of the keyboard.
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Side = Annotated[int, Field(ge=8, le=16_384)]  # pixels


class Protocol(Strict):
    """What a score was measured on: ``frames×crops×clips@size``, e.g. ``8x1x1@224``."""

    frames: Count
    crops: Count
    clips: Count
    size: Side

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
        match = re.fullmatch(r"\s*([0-9]+)[x×]([0-9]+)[x×]([0-9]+)@([0-9]+)\s*", text)
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


EVAL_CLIPS: dict[str, Sequence[int]] = {  # numbers of clips a rule of `DataConfig.eval_sampling` can take of a video
    "tsm-val": (1, 2),
    "tsm-test": (1, 2),
    "strided": range(1, 11),
    "stabn-release-sparse": (1,),
    "stabn-release-dense": (1,),
    "two-segments": (2,),
}


class DataConfig(Strict):
    """How clips become tensors, in training and in evaluation (specs: TSM's loader and M2A's scripts)."""

    frames: Count = 8
    train_sampling: Literal[
        "tsm-train",
        "tsm-val",
        "tsm-test",
        "uniform-jitter",
        "strided",
        "stabn-release-sparse",
        "stabn-release-dense",
        "two-segments",
        "two-random-segments",
    ] = "tsm-train"
    eval_sampling: Literal[
        "tsm-val", "tsm-test", "strided", "stabn-release-sparse", "stabn-release-dense", "two-segments"
    ] = "tsm-val"
    stride: Count = 1  # of ``strided``: frames are so far apart; 1 = consecutive
    train_resize: tuple[Side, Side] | None = None  # (height, width) frames are made before training's crop
    train_size: Side = 224  # side of the square crop fed to the network
    crop: Literal["multi-scale", "centre", "random", "random-resized"] = "multi-scale"
    crop_scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    crop_max_distortion: int = Field(1, ge=0, le=1_000)
    crop_area: tuple[float, float] = (0.08, 1.0)  # of ``random-resized``: share of the frame
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)  # of ``random-resized``: width over height
    flip: Literal["none", "swap", "always"] = "none"
    colour_jitter: tuple[float, float, float, float] | None = None  # brightness, contrast, saturation, hue; ±
    eval_short_side: Side = 256  # frames are resized to this before the crop
    eval_resize: tuple[Side, Side] | None = None  # (height, width) in place of eval_short_side
    eval_size: Side = 224
    eval_crops: Literal[1, 3] = 1
    eval_clips: int = Field(1, ge=1, le=10)
    eval_average: Literal["logits", "softmax"] = "logits"  # what the mean over a clip's views is taken of
    fold: str | None = None  # an official division into splits in place of the manifest's own, e.g. split2
    task: str | None = None  # another label set of the same clips, e.g. noun

    @field_validator("eval_crops", mode="before")
    @classmethod
    def _is_a_number(cls, crops: Any) -> Any:
        """A literal takes ``true`` for 1."""
        if type(crops) is not int:
            raise ValueError("expected 1 or 3")
        return crops

    @field_validator("crop_scales")
    @classmethod
    def _scales_in_range(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if not scales or any(not 0 < scale <= 1 for scale in scales):
            raise ValueError("crop_scales needs at least one number in (0, 1]")
        return scales

    @field_validator("crop_area", "crop_aspect")
    @classmethod
    def _range_is_one(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if not 0 < ends[0] <= ends[1]:
            raise ValueError("expected two positive numbers, the smaller one first")
        return ends

    @field_validator("colour_jitter")
    @classmethod
    def _jitter_in_range(cls, shares: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if shares and (min(shares) < 0 or max(shares[:3]) > 1 or shares[3] > 0.5):
            raise ValueError("brightness, contrast and saturation lie in 0 to 1, hue in 0 to 0.5")
        return shares

    @model_validator(mode="after")
    def _crops_fit(self) -> DataConfig:
        side = min(self.eval_resize) if self.eval_resize else self.eval_short_side
        if self.eval_size > side:
            name = f"eval_resize {self.eval_resize}" if self.eval_resize else f"eval_short_side {side}"
            raise ValueError(f"eval_size {self.eval_size} does not fit into {name}")
        if self.crop == "random" and self.train_resize and self.train_size > min(self.train_resize):
            raise ValueError(f"train_size {self.train_size} does not fit into train_resize {self.train_resize}")
        if self.crop_area[1] > 1:
            raise ValueError(f"crop_area {self.crop_area} is a share of the frame, at most 1")
        return self

    @model_validator(mode="after")
    def _clips_fit(self) -> DataConfig:
        allowed = EVAL_CLIPS[self.eval_sampling]
        if self.eval_clips not in allowed:
            text = f"{allowed[0]} to {allowed[-1]}" if len(allowed) > 2 else " or ".join(map(str, allowed))
            raise ValueError(f"eval_clips {self.eval_clips} cannot be had by {self.eval_sampling}, which takes {text}")
        if self.stride > 1 and "strided" not in (self.train_sampling, self.eval_sampling):
            raise ValueError(f"stride {self.stride} has no effect: neither train_sampling nor eval_sampling is strided")
        return self

    @property
    def protocol(self) -> Protocol:
        """The evaluation protocol these settings amount to."""
        return Protocol(frames=self.frames, crops=self.eval_crops, clips=self.eval_clips, size=self.eval_size)
