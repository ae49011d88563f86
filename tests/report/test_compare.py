"""Comparing runs from their score files: which runs, which clips, what is refused, what the paper prints beside it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fake_runs import change_record, write_run
from tests.fake_scores import CLASSES, LABELS, give_scores, made, right
from vidrepro.errors import ConfigError, ResultsError, UnknownNameError
from vidrepro.evaluation.scores import scores_path
from vidrepro.report.compare import Comparison, compare, comparison_report
from vidrepro.report.compare_figure import draw_comparison
from vidrepro.report.render import csv_text, markdown
from vidrepro.report.run_sets import choose_pair, find_one_run, find_run_sets


def run_compare(results: Path, a: str, b: str, *, per_class: bool = True, **more: object) -> Comparison:
    first, second = choose_pair(find_run_sets(results, a), find_run_sets(results, b))
    return compare(first, second, data=results / "data", per_class=per_class, resamples=500, **more)


def test_classes_are_sorted_and_named_and_the_printed_ones_stand_beside(tmp_path: Path) -> None:
    made(tmp_path, "m2a/table1/m2a", right(c0=9, c1=8, c5=2))
    made(tmp_path, "m2a/table5/tam", right(c0=1, c1=5, c5=6))
    found = run_compare(tmp_path, "m2a/table1/m2a", "m2a/table5/tam")
    assert found.overall.difference == pytest.approx(100 * (9 + 8 + 2 - 1 - 5 - 6) / 80)
    assert [(one.label, one.measured.difference) for one in found.classes][:2] == [
        (0, pytest.approx(80)),
        (1, pytest.approx(30)),
    ]
    assert found.classes[-1].label == 5 and found.classes[-1].measured.difference == pytest.approx(-40)
    printed = {one.name: [gain.delta for gain in one.printed] for one in found.classes if one.printed}
    assert printed == {
        "Approaching something with your camera": [50.7],
        "Moving away from something with your camera": [59.3],
    }
    text = markdown(comparison_report(found))
    assert "+59.3" in text and "+80.0" in text and "m2a Fig. 5, M2A over TAM" in text and "best" in text


def test_the_other_way_round_printed_gains_change_their_sign(tmp_path: Path) -> None:
    made(tmp_path, "m2a/table1/m2a", right(c0=9))
    made(tmp_path, "m2a/table5/tdn", right(c0=1))
    found = run_compare(tmp_path, "m2a/table5/tdn", "m2a/table1/m2a")
    (gain,) = next(one.printed for one in found.classes if one.printed)
    assert gain.delta == -20.4
    (missing,) = found.printed_elsewhere  # the embedded dataset has no such class
    assert missing.class_name == "Poking something so that it falls over" and missing.delta == -21.9


def test_networks_the_figure_is_not_about_get_no_printed_number(tmp_path: Path) -> None:
    made(tmp_path, "m2a/table1/m2a", right(c0=9))
    made(tmp_path, "m2a/table1/m2a-motion", right(c0=1))
    made(tmp_path, "m2a/table5/m2a-tsm", right())
    for a, b in (("m2a/table1/m2a", "m2a/table1/m2a-motion"), ("m2a/table5/m2a-tsm", "m2a/table1/m2a")):
        found = run_compare(tmp_path, a, b)
        assert not any(one.printed for one in found.classes) and not found.printed_elsewhere


def test_clips_are_paired_by_id_not_by_their_place(tmp_path: Path) -> None:
    a = made(tmp_path, "m2a/table1/m2a", right(c0=9))
    b = made(tmp_path, "m2a/table1/none", right(c0=9))
    before = run_compare(tmp_path, "m2a/table1/m2a", "m2a/table1/none", per_class=False)
    assert next(iter(before.tests.values())).only_a == 0 and before.overall.low == before.overall.high == 0
    order = np.random.default_rng(0).permutation(80)
    ids = [f"clip{number:04d}" for number in order]
    give_scores(b, LABELS[order], right(c0=9)[order], ids=ids)
    after = run_compare(tmp_path, "m2a/table1/m2a", "m2a/table1/none", per_class=False)
    assert after.tests == before.tests and after.overall == before.overall
    assert a != b


def test_an_experiment_means_all_its_seeds(tmp_path: Path) -> None:
    for seed, count in enumerate((8, 9, 10)):
        made(tmp_path, "m2a/table1/m2a", right(c2=count), seed=seed)
        made(tmp_path, "m2a/table1/none", right(c2=4), seed=seed)
    found = run_compare(tmp_path, "m2a/table1/m2a", "m2a/table1/none")
    assert found.a.seeds == found.b.seeds == (0, 1, 2) and found.same_seeds
    assert found.classes[0].measured.difference == pytest.approx(50) and found.classes[0].measured.clips == 10
    assert {seed: test.only_a for seed, test in found.tests.items()} == {"0": 4, "1": 5, "2": 6}
    rows = list(csv.DictReader(io.StringIO(csv_text(comparison_report(found, top=1)))))
    assert len(rows) == 9 and rows[0]["class"] == "all clips"  # the file holds every class, whatever is shown
    assert rows[1]["class"] == CLASSES[2] and float(rows[1]["difference"]) == 50
    assert len(comparison_report(found, top=1).grids[1].rows) == 2
    one = find_one_run(tmp_path, "m2a/table1/m2a", seed=1)
    assert one.seeds == (1,) and one.folders[0].name == one.runs[0].id
    with pytest.raises(UnknownNameError, match="seed"):
        find_one_run(tmp_path, "m2a/table1/m2a", seed=7)


def test_what_does_not_stand_against_one_another_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "m2a/table1/m2a", right())
    other = {"other prepared": {"fingerprint": "ffff0000ffff0000"}, "other dataset": {"dataset": "ssv1"}}
    for more in other.values():
        b = made(tmp_path, "m2a/table1/none", right(), **more)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"datasets|preparations"):
            run_compare(tmp_path, "m2a/table1/m2a", str(b.parent))
    b = made(tmp_path, "m2a/table1/none", right())
    change_record(b, protocol="8x3x2@48")
    with pytest.raises(ConfigError, match="protocols"):
        run_compare(tmp_path, "m2a/table1/m2a", str(b.parent))
    with pytest.raises(ConfigError, match="same runs"):
        run_compare(tmp_path, "m2a/table1/m2a", "m2a/table5/m2a")


def test_scores_of_other_clips_or_another_dataset_are_refused(tmp_path: Path) -> None:
    made(tmp_path, "m2a/table1/m2a", right())
    b = made(tmp_path, "m2a/table1/none", right())
    for labels, ids in ((LABELS[:70], None), ((LABELS + 1) % 8, None), (LABELS, [f"x{n}" for n in range(80)])):
        give_scores(b, labels, np.ones(len(labels), bool), ids=ids)
        with pytest.raises(ResultsError, match="different clips"):
            run_compare(tmp_path, "m2a/table1/m2a", "m2a/table1/none")
    give_scores(b, LABELS, right(), fingerprint="0" * 16)
    with pytest.raises(ResultsError, match="not this run's"):
        run_compare(tmp_path, "m2a/table1/m2a", "m2a/table1/none")


def test_missing_scores_name_the_command_that_makes_them(tmp_path: Path) -> None:
    made(tmp_path, "m2a/table1/m2a", right())
    b = made(tmp_path, "m2a/table1/none", right())
    protocol = find_one_run(tmp_path, "m2a/table1/none").runs[0].protocol
    scores_path(b.parent, "val", protocol, "best").unlink()
    with pytest.raises(ResultsError, match="not versioned") as refusal:
        run_compare(tmp_path, "m2a/table1/m2a", "m2a/table1/none")
    assert "vidrepro evaluate" not in str(refusal.value)  # without a checkpoint it could not
    (b.parent / "best.pt").touch()
    with pytest.raises(ResultsError, match=f"vidrepro evaluate {b.parent.name}$"):
        run_compare(tmp_path, "m2a/table1/m2a", "m2a/table1/none")
    with pytest.raises(ResultsError, match="--protocol 8x3x2@48 --split test"):
        run_compare(tmp_path, str(b.parent), "m2a/table1/m2a", protocol="8x3x2@48", split="test")


def test_names_are_looked_up_and_several_settings_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="vidrepro ablate m2a --table I --rows m2a"):
        find_run_sets(tmp_path, "m2a/table1/m2a")
    with pytest.raises(UnknownNameError, match="m2a/table1/m2a"):
        find_run_sets(tmp_path, "m2a/table1/m2b")
    plain = made(tmp_path, "m2a/table1/m2a", right())
    larger = ("train.epochs=3",)
    made(tmp_path, "m2a/table1/m2a", right(), overrides=larger)
    made(tmp_path, "m2a/table1/none", right(c0=1), overrides=larger)
    found = run_compare(tmp_path, "m2a/table1/m2a", "m2a/table1/none")  # both were run with 3 epochs only
    assert found.a.runs[0].config["train"]["epochs"] == 3
    with pytest.raises(ConfigError, match="several settings"):
        find_one_run(tmp_path, "m2a/table1/m2a")
    assert find_one_run(tmp_path, plain.parent.name).folders[0] == plain.parent
    made(tmp_path, "m2a/table1/none", right(c0=1))
    with pytest.raises(ConfigError, match="several settings"):
        run_compare(tmp_path, "m2a/table1/m2a", "m2a/table1/none")


@pytest.mark.parametrize("classes", [8, 60])
def test_the_chart_has_a_bar_for_each_class_in_its_direction(classes: int, tmp_path: Path, drawn: list[Any]) -> None:
    labels = np.repeat(np.arange(classes), 4)
    sides = [np.random.default_rng(seed).uniform(size=len(labels)) < 0.5 for seed in (1, 2)]
    for name, side in zip(("m2a", "none"), sides, strict=True):
        file = write_run(tmp_path, f"m2a/table1/{name}", 1, clips=len(labels))
        change_record(file, dataset=json.loads(file.read_text())["dataset"] | {"classes": classes})
        give_scores(file, labels, side, classes=classes)
    found = run_compare(tmp_path, "m2a/table1/m2a", "m2a/table1/none")
    assert found.named == (classes == 8)  # the names of the embedded dataset are known, no others
    draw_comparison(found, tmp_path / "bars.png")
    bars = drawn[0].axes[0].patches
    lengths = [bar.get_width() if classes == 8 else bar.get_height() for bar in bars][:classes]
    assert lengths == pytest.approx([one.measured.difference for one in found.classes])
    assert lengths == sorted(lengths, reverse=True)
    first = (tmp_path / "bars.png").read_bytes()
    assert Image.open(io.BytesIO(first)).format == "PNG"
    draw_comparison(found, tmp_path / "bars.png")
    assert (tmp_path / "bars.png").read_bytes() == first
    with pytest.raises(ResultsError, match="--per-class"):
        draw_comparison(run_compare(tmp_path, "m2a/table1/m2a", "m2a/table1/none", per_class=False), tmp_path / "x.png")
