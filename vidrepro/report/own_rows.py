"""Rows the paper does not print: mechanisms of a user's own, found among the runs and put beneath the printed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vidrepro.experiments import Paper, Row, Table
from vidrepro.experiments.papers import is_own_mechanism
from vidrepro.report.sections import find_runs
from vidrepro.runs.record import RunRecord


def with_own_rows(paper: Paper, runs: Sequence[RunRecord]) -> Paper:
    """The paper, each table with a row for every mechanism of one's own that has runs on the table's backbone.

    A class whose source has changed between runs has a row for each version, named by the source's digest.

    Args:
        paper: as printed.
        runs: finished runs of any paper.
    """
    found = sorted({_identity(run) for run in runs if _is_own(run, paper)}, key=str)
    if not found:
        return paper
    versions = [mechanism for mechanism, _ in found]
    tables = []
    for table in paper.tables:
        rows = [
            _named(table.own_row(mechanism, digest), digest if versions.count(mechanism) > 1 else None)
            for mechanism, digest in found
            if table.takes_own_rows
        ]
        tables.append(replace(table, rows=(*table.rows, *(row for row in rows if _has_runs(paper, table, row, runs)))))
    return replace(paper, tables=tuple(tables))


def _is_own(run: RunRecord, paper: Paper) -> bool:
    asked = run.paper_setting
    return (
        asked is not None
        and asked.paper == paper.name
        and is_own_mechanism(_identity(run)[0])
        and not _printed(run, paper)
    )


def _printed(run: RunRecord, paper: Paper) -> bool:
    mechanisms = {row.model.get("mechanism") for table in paper.tables for row in table.rows}
    return run.config["model"].get("mechanism") in mechanisms


def _identity(run: RunRecord) -> tuple[str, str | None]:
    model = run.config["model"]
    return str(model.get("mechanism")), model.get("mechanism_digest")


def _named(row: Row, digest: str | None) -> Row:
    if digest is None:
        return row
    return replace(row, id=f"{row.id}@{digest[:8]}", label=f"{row.label} @{digest[:8]}")


def _has_runs(paper: Paper, table: Table, row: Row, runs: Sequence[RunRecord]) -> bool:
    """Whether the row was run, on the table's backbone rather than on one asked for that has a table of its own."""
    others = {other.backbone for other in paper.tables if other is not table}
    return any(
        key.backbone in (None, table.backbone) or key.backbone not in others for key in find_runs(paper, runs, row)
    )
