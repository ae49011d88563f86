"""Several networks class by class: accuracies counted by hand, which classes are shown, what is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fake_runs import write_run
from tests.fake_scores import CLASSES, LABELS, give_scores, made, right
from vidrepro.errors import ConfigError, ResultsError, UnknownNameError
from vidrepro.report.compare_several import SeveralCompared, choose_alike, compare_several, several_report
from vidrepro.report.compare_several_figure import draw_several
from vidrepro.report.render import csv_text, markdown
from vidrepro.report.run_sets import find_run_sets
from vidrepro.report.statistics import wilson_interval

NONE, MOTION, M2A = (f"m2a/table1/{name}" for name in ("none", "m2a-motion", "m2a"))


def run_compare(results: Path, *names: str, **more: object) -> SeveralCompared:
    sets = choose_alike([find_run_sets(results, name) for name in names])
    return compare_several(sets, data=results / "data", **more)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    made(tmp_path, NONE, right(c0=2, c7=9))
    made(tmp_path, MOTION, right(c0=6, c7=4))
    made(tmp_path, M2A, right(c0=10, c3=8, c7=6))
    return tmp_path


def test_accuracies_are_counted_class_by_class(results: Path) -> None:
    found = run_compare(results, NONE, MOTION, M2A)
    table = {one.name: [network.mean for network in one.networks] for one in found.classes}
    assert list(table) == list(CLASSES)
    assert table[CLASSES[0]] == [20, 60, 100] and table[CLASSES[3]] == [50, 50, 80]
    assert table[CLASSES[7]] == [90, 40, 60] and table[CLASSES[1]] == [50, 50, 50]
    assert [network.mean for network in found.overall.networks] == pytest.approx([51.25, 50, 61.25])
    one = found.classes[0].networks[0]
    assert (one.low, one.high) == pytest.approx(wilson_interval(2, 10))
    assert {item.clips for item in found.classes} == {10}


def test_the_largest_gains_and_losses_over_the_first_are_shown_unless_classes_are_named(results: Path) -> None:
    found = run_compare(results, NONE, MOTION, M2A, top=1)
    assert [one.label for one in found.shown] == [0, 7]  # +60 and -40 in the mean of the two
    assert [one.label for one in run_compare(results, NONE, MOTION, M2A, top=2).shown][:2] == [0, 3]
    assert len(run_compare(results, NONE, MOTION, M2A).shown) == 8
    named = run_compare(results, NONE, MOTION, M2A, classes=["5,2", CLASSES[7].upper()])
    assert [one.label for one in named.shown] == [5, 2, 7]
    assert len({found.slug, named.slug, run_compare(results, M2A, MOTION, NONE, top=1).slug}) == 3


def test_the_report_shows_the_chosen_classes_and_keeps_all(results: Path) -> None:
    report = several_report(run_compare(results, NONE, MOTION, M2A, classes=["0", "7"]))
    (grid,) = report.grids
    assert [row[0].text for row in grid.rows] == [CLASSES[0], CLASSES[7], "all clips"]
    assert [cell.text.split()[0] for cell in grid.rows[0]][-3:] == ["20.0", "60.0", "100.0"]
    text = markdown(report)
    assert "better on 2, worse on 1 of all 8 classes, +10.0 percentage points" in text  # (80 + 30 - 30) / 8
    rows = list(csv.DictReader(io.StringIO(csv_text(report))))
    assert len(rows) == 3 * 9 and sum(row["shown"] == "True" for row in rows) == 6
    of_m2a = next(row for row in rows if row["label"] == "3" and row["name"] == M2A)
    assert float(of_m2a["top1"]) == 80


def test_several_seeds_are_means_with_their_spread(results: Path) -> None:
    made(results, M2A, right(c0=8), seed=1)
    found = run_compare(results, NONE, M2A, classes=["0"])
    one = found.shown[0].networks[1]
    assert one.mean == 90 and one.sd == pytest.approx(np.std([100, 80], ddof=1)) and one.low is None
    assert "90.0 ± 14.1" in markdown(several_report(found))


def test_the_picture_has_bars_of_the_measured_lengths(results: Path, tmp_path: Path) -> None:
    found = run_compare(results, NONE, MOTION, M2A, classes=["0", "7"])
    for name in ("a", "b"):
        draw_several(found, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    grey = (abs(picture - 0.7 * 255) < 1).all(-1)  # the first network's bars: 20 % and 90 %
    lengths = grey.sum(1)
    long, short = lengths.max(), np.bincount(lengths[(lengths > 20) & (lengths < 0.4 * lengths.max())]).argmax()
    assert short / long == pytest.approx(20 / 90, abs=0.03)


def test_what_cannot_be_compared_is_refused(results: Path) -> None:
    with pytest.raises(UnknownNameError, match="class of synthetic"):
        run_compare(results, NONE, M2A, classes=["Juggling"])
    with pytest.raises(ConfigError, match="mean the same runs"):
        run_compare(results, NONE, M2A, NONE)
    with pytest.raises(ConfigError, match="one set of runs each"):
        run_compare(results, NONE, M2A, M2A)
    few = LABELS < 7
    other = write_run(results, "m2a/table1/m2a-attention", 10, clips=70)
    give_scores(other, LABELS[few], right()[few])
    with pytest.raises(ResultsError, match="different clips"):
        run_compare(results, NONE, M2A, "m2a/table1/m2a-attention")


def test_a_class_without_clips_is_refused_by_its_name(tmp_path: Path) -> None:
    few = LABELS < 7
    for name in (NONE, M2A):
        give_scores(write_run(tmp_path, name, 10, clips=70), LABELS[few], right()[few])
    with pytest.raises(ConfigError, match="no clip of split val is of this class") as refusal:
        run_compare(tmp_path, NONE, M2A, classes=["1", "7"])
    assert refusal.value.given == CLASSES[7]


def test_names_that_mean_several_settings_go_with_the_first_ones(results: Path) -> None:
    made(results, M2A, right(), fingerprint="ffff0000ffff0000")
    found = run_compare(results, NONE, MOTION, M2A)
    assert {run.dataset.fingerprint for one in found.sets for run in one.runs} == {"ab12cd34ef56ab78"}
