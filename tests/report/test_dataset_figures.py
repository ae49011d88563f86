"""The histograms of a prepared dataset count its usable clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import TOY_CLASSES
from vidrepro.data.manifest import Manifest, write_manifest
from vidrepro.report import dataset_figures


def listed(folder: Path, labels: list[int], lengths: list[int], classes: list[str], fps: list[float]) -> Manifest:
    """A manifest alone, every third clip for validation, the last one bad."""
    rows = [
        {
            "id": f"c{number}", "path": f"c{number}.mp4", "frames": length, "fps": rate, "width": 32, "height": 32,
            "label": label, "split": "val" if number % 3 == 2 else "train", "bytes": 10, "digest": f"{number:064x}",
            "status": "ok",
        }
        for number, (label, length, rate) in enumerate(zip(labels, lengths, fps, strict=True))
    ]  # fmt: skip
    rows.append(rows[0] | {"id": "bad", "path": "bad.mp4", "status": "bad", "frames": 0, "fps": 0.0, "bytes": 0,
                           "width": 0, "height": 0, "digest": ""})  # fmt: skip
    info = {"name": folder.name, "root": ".", "classes": classes, "label_order": "sorted", "version": "1"}
    folder.mkdir(parents=True)
    return write_manifest(folder, rows, info)


def test_every_class_has_its_clips_by_split(tmp_path: Path, drawn: list[Any]) -> None:
    manifest = listed(tmp_path / "few", [0, 0, 0, 1, 0, 1], [8] * 6, TOY_CLASSES, [12.0] * 6)
    dataset_figures.draw_class_histogram(manifest, tmp_path / "classes.png")
    axes = drawn[0].axes[0]
    widths = [[bar.get_width() for bar in of_split] for of_split in axes.containers]
    assert widths == [[3, 1], [1, 1]]  # train, then val
    assert [bar.get_x() for bar in axes.containers[1]] == [3, 1]  # on top of train
    assert [tick.get_text() for tick in axes.get_yticklabels()] == TOY_CLASSES
    assert (tmp_path / "classes.png").read_bytes().startswith(b"\x89PNG")


def test_many_classes_are_sorted_by_their_clips(tmp_path: Path, drawn: list[Any]) -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(174, size=900, p=rng.dirichlet(np.ones(174))).tolist()
    manifest = listed(tmp_path / "many", labels, [20] * 900, [f"class number {n}" for n in range(174)], [12.0] * 900)
    dataset_figures.draw_class_histogram(manifest, tmp_path / "classes.png")
    axes = drawn[0].axes[0]
    totals = sum(np.array([bar.get_height() for bar in of_split]) for of_split in axes.containers)
    assert sorted(np.bincount(labels, minlength=174).tolist(), reverse=True) == totals.tolist()
    assert f"class number {np.bincount(labels).argmax()} (" in axes.get_xlabel()


@pytest.mark.parametrize("distinct", [3, 200])
def test_lengths_are_counted_and_told_in_seconds_at_one_frame_rate(
    distinct: int, tmp_path: Path, drawn: list[Any]
) -> None:
    lengths = [10 + number % distinct for number in range(600)]
    manifest = listed(tmp_path / "even", [0, 1] * 300, lengths, TOY_CLASSES, [12.0] * 600)
    dataset_figures.draw_length_histogram(manifest, tmp_path / "lengths.png")
    axes = drawn[0].axes[0]
    tops = {}
    for bar in axes.patches:
        place = round(bar.get_x(), 6)
        tops[place] = max(tops.get(place, 0), bar.get_y() + bar.get_height())
    assert sum(tops.values()) == 600
    assert len(axes.child_axes) == 1 and "12 frames/s" in axes.child_axes[0].get_xlabel()
    mixed = listed(tmp_path / "mixed", [0, 1] * 300, lengths, TOY_CLASSES, [12.0, 24.0] * 300)
    dataset_figures.draw_length_histogram(mixed, tmp_path / "lengths.png")
    assert not drawn[1].axes[0].child_axes


def test_the_same_dataset_gives_the_same_bytes(toy: Manifest, tmp_path: Path) -> None:
    drawers: list[Callable[[Manifest, Path], None]] = [
        dataset_figures.draw_class_histogram, dataset_figures.draw_length_histogram
    ]  # fmt: skip
    for draw in drawers:
        for name in ("one.png", "two.png"):
            draw(toy, tmp_path / name)
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
