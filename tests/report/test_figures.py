from __future__ import annotations

from pathlib import Path

import pytest
from fake_runs import made_up_costs, write_run
from matplotlib.figure import Figure

from vidrepro.errors import ResultsError
from vidrepro.experiments import load_paper
from vidrepro.report import figures
from vidrepro.report.finished_runs import load_runs
from vidrepro.report.grid import TableReport
from vidrepro.report.write import report_tables


def report(results: Path, table: str = "I") -> TableReport:
    paper = load_paper("m2a")
    return report_tables(paper, [paper.table(table)], load_runs(results), made_up_costs(), data_folder=results)[0]


def test_bars_are_the_numbers_of_the_table(tmp_path: Path, drawn: list[Figure]) -> None:
    write_run(tmp_path, "m2a/table1/none", 352)
    write_run(tmp_path, "m2a/table1/m2a", 640)
    path = tmp_path / "figure.png"
    figures.draw_table(report(tmp_path), load_paper("m2a"), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    printed, measured = drawn[0].axes
    assert [bar.get_width() for bar in printed.patches] == [13.9, 34.7]  # type: ignore[attr-defined]
    assert [bar.get_width() for bar in measured.patches] == [44.0, 80.0]  # type: ignore[attr-defined]
    assert [text.get_text() for text in printed.get_yticklabels()] == ["None", "M2A"]
    assert printed.get_title() == "printed, ssv1"
    assert "synthetic" in measured.get_title() and "micro (width=16)" in measured.get_title()
    (segments,) = [item.get_segments() for item in measured.collections]  # type: ignore[attr-defined]
    assert segments[0][:, 0] == pytest.approx([40.597, 47.460], abs=1e-3)
    ceilings = [line for line in measured.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in ceilings] == [50.0]  # type: ignore[index]


def test_no_ceiling_is_drawn_where_it_does_not_hold(tmp_path: Path, drawn: list[Figure]) -> None:
    write_run(tmp_path, "m2a/table1/none", 352, overrides=("data.train_sampling=tsm-val",))
    figures.draw_table(report(tmp_path), load_paper("m2a"), tmp_path / "figure.png")
    measured = drawn[0].axes[1]
    assert not [line for line in measured.lines if line.get_linestyle() == "--"]


def test_the_picture_is_the_same_every_time(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path, "m2a/table5/tsm", 700 + seed, seed=seed)
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        figures.draw_table(report(tmp_path, "V"), load_paper("m2a"), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_nothing_measured_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="nothing is measured yet"):
        figures.draw_table(report(tmp_path), load_paper("m2a"), tmp_path / "figure.png")
    assert not (tmp_path / "figure.png").exists()
