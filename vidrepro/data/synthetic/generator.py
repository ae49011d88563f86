"""A clip from its id: which clips a preset has, and what each of them shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vidrepro.data.synthetic.draws import clip_generator, draw
from vidrepro.data.synthetic.presets import Preset
from vidrepro.data.synthetic.rasterise import Rendering, render
from vidrepro.data.synthetic.scenes import ACTIONS
from vidrepro.data.synthetic.stage import stage


@dataclass(frozen=True)
class PlannedClip:
    """A clip to be made. Neither its id nor its place in the plan tells its label."""

    id: str
    split: str
    label: int


def plan_clips(preset: Preset, seed: int) -> list[PlannedClip]:
    """All clips of a preset: balanced classes in shuffled order within each split.

    Args:
        preset: which classes and how many clips.
        seed: of the dataset.
    """
    clips = []
    for split, per_class in preset.clips:
        labels = np.repeat(np.arange(len(preset.classes)), per_class)
        clip_generator(seed, f"labels of {split}").shuffle(labels)
        clips += [PlannedClip(f"{split}-{index:06d}", split, label) for index, label in enumerate(labels.tolist())]
    return clips


def render_clip(name: str, clip_id: str, preset: Preset, seed: int) -> Rendering:
    """Draw one clip.

    Args:
        name: its class. For the two members of a reversal pair and one id, the clips are each other's reversal.
        clip_id: key of every random choice, together with the dataset's seed and the generator's version.
        preset: sizes and ranges.
        seed: of the dataset.
    """
    action = ACTIONS[name]
    draws = draw(clip_generator(seed, clip_id), preset)
    scene = stage(draws, props=preset.props)
    action.apply(scene, draws)
    rendering = render(scene, draws, preset.side)
    return rendering.reversed() if action.is_reversed(draws) else rendering
