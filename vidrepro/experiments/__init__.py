"""Papers' tables as experiments: names are looked up here, and a row becomes a `vidrepro.config.RunConfig`."""

from vidrepro.experiments.lookup import find_row, load_paper, paper_names
from vidrepro.experiments.papers import Ensemble, Evaluation, Paper, Place, Row, Table
from vidrepro.experiments.reading import read_paper
from vidrepro.experiments.resolution import (
    EMBEDDED_DATASET,
    DatasetChoice,
    choose_dataset,
    choose_places,
    default_preset,
    known_datasets,
    load_preset,
    preset_names,
    resolve_row,
    select_rows,
)

__all__ = [
    "EMBEDDED_DATASET",
    "DatasetChoice",
    "Ensemble",
    "Evaluation",
    "Paper",
    "Place",
    "Row",
    "Table",
    "choose_dataset",
    "choose_places",
    "default_preset",
    "find_row",
    "known_datasets",
    "load_paper",
    "load_preset",
    "paper_names",
    "preset_names",
    "read_paper",
    "resolve_row",
    "select_rows",
]
