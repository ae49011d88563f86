"""What the commands of ``vidrepro explain`` share: their options, and the networks these name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vidrepro.explain.shown_clips import Network

Run = Annotated[str, typer.Argument(help="A run, or an experiment (m2a/table1/m2a): its run with --seed.")]
Clips = Annotated[list[str], typer.Argument(help="Ids of clips, as in the dataset's manifest.csv.")]
Split = Annotated[
    str | None, typer.Option("--split", help="Where the clips are (default: val, or test where there is no val).")
]
What = Annotated[
    str | None,
    typer.Option(
        "--what",
        help="Which attention: names as the network has them, patterns of the taps' dotted names ('*layer3*'), or all; "
        "commas between several (default: of each kind the one in the layer that gradcam shows).",
    ),
]
Frames = Annotated[
    str | None,
    typer.Option(
        "--frames",
        help="Frames in the picture: how many, evenly spread (8), or which of those the network sees (1,4,7).",
    ),
]
Still = Annotated[bool, typer.Option("--still", help="No GIF and no MP4.")]


def networks_of(
    results: Path,
    runs: Sequence[str],
    *,
    seed: int,
    dataset: str | None,
    preset: str | None,
    data: Path,
    device: str,
    split: str | None,
    checkpoint: str,
) -> list[Network]:
    """The networks of runs or experiments, as the options name them, on their device.

    Raises:
        VidreproError: see `find_one_run` and `load_networks`.
    """
    from vidrepro.devices import choose_device
    from vidrepro.explain.shown_clips import load_networks
    from vidrepro.report.run_sets import find_one_run

    sets = [find_one_run(results, name, seed=seed, dataset=dataset, preset=preset) for name in runs]
    return load_networks(sets, data=data, device=choose_device(device), split=split, checkpoint=checkpoint)
