"""Papers and experiments by name, among those this installation carries."""

from __future__ import annotations

from vidrepro.errors import unknown_name
from vidrepro.experiments.papers import Paper, Row, unknown_experiment
from vidrepro.experiments.reading import read_paper
from vidrepro.files import experiments_folder


def paper_names() -> list[str]:
    """Every paper with a folder of experiments."""
    return sorted(file.parent.name for file in experiments_folder().glob("*/printed.yaml"))


def load_paper(name: str) -> Paper:
    """Read a paper's folder of experiments.

    Raises:
        UnknownNameError: if there is no such paper, with the closest ones.
        ConfigError: listing every fault in its files, each with the file's name.
    """
    if name not in paper_names():
        raise unknown_name("paper", name, paper_names())
    return read_paper(experiments_folder() / name)


def find_row(experiment: str) -> Row:
    """The row of any paper by its experiment id, e.g. ``m2a/table2/m2a``.

    Raises:
        UnknownNameError: with the closest ids.
    """
    paper = experiment.split("/")[0]
    if paper in paper_names():
        return load_paper(paper).row(experiment)
    ids = [row.id for name in paper_names() for table in load_paper(name).tables for row in table.rows]
    raise unknown_experiment(experiment, ids, next(iter(paper_names()), "PAPER"))
