"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunName = Annotated[str, typer.Argument(help="A run's id, the beginning of one, or its folder (vidrepro runs).")]
MAX_SEED = 2**64 - 1  # torch's
SeedOfExperiment = Annotated[
    int, typer.Option("--seed", min=0, max=MAX_SEED, help="Of experiments: the run with this seed.")
]
DatasetOfExperiment = Annotated[str | None, typer.Option("--dataset", help="Of experiments: run on this dataset.")]
PresetOfExperiment = Annotated[str | None, typer.Option("--preset", help="Of experiments: run with this preset.")]
Protocol = Annotated[
    str | None, typer.Option("--protocol", help="frames x crops x clips @ size (default: the run's own).")
]
Split = Annotated[
    str | None, typer.Option("--split", help="train, val or test (default: val, or test where there is no val).")
]
EvaluatedSplit = Annotated[
    str | None, typer.Option("--split", help="train, val or test (default: the one training was evaluated on).")
]
Checkpoint = Annotated[str, typer.Option("--checkpoint", help="best or last.")]
Data = Annotated[
    Path | None, typer.Option("--data", help="Folder of prepared datasets (default: $VIDREPRO_DATA, else ./data).")
]
Results = Annotated[
    Path | None,
    typer.Option("--results", help="Folder of runs and tables (default: $VIDREPRO_RESULTS, else ./results)."),
]
Dataset = Annotated[
    str, typer.Option("--dataset", help="A prepared dataset; auto = the paper's if prepared, else the embedded one.")
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="Recipe: paper, tiny, … (default: tiny on the embedded dataset, else paper)."),
]
Backbone = Annotated[str | None, typer.Option("--backbone", help="Train this backbone instead of the table's.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. train.epochs=3.")
]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Start from the weights in this file (a state dict of tensors).")
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="RUN|ROW",
        help="Start from a finished run (one on another dataset: where no row is started from), or from a row's run "
        "with the same seed.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Loader processes a run; results do not depend on it.")]
Cache = Annotated[
    str, typer.Option("--cache", help="Keep decoded frames in one file: auto (small sets), always, never.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]
