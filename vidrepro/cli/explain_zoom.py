"""``vidrepro explain zoom``: where T-CNN's sparse spatial attention looks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vidrepro.cli import explain_options, options


def zoom(
    run: explain_options.Run,
    clips: explain_options.Clips,
    frames: explain_options.Frames = None,
    still: explain_options.Still = False,
    split: explain_options.Split = None,
    seed: options.SeedOfExperiment = 0,
    checkpoint: options.Checkpoint = "best",
    dataset: options.DatasetOfExperiment = None,
    preset: options.PresetOfExperiment = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for pictures and arrays (default: <results>/explain/zoom)."),
    ] = None,
    device: options.Device = "auto",
    data: options.Data = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """T-CNN's sparse spatial attention: response map, peaks of both sets, where each branch looks, what it then sees.

    A picture (PNG), an animation (GIF and MP4) and all values (.npz) per clip. On an embedded dataset it also says how
    much of the picture the moving object fills, before and after.

    Examples:

      vidrepro explain zoom tcnn/table4/o+c+d CLIP CLIP

      vidrepro explain zoom RUN CLIP --frames 1,4,8 --still
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.explain.chosen_frames import check_frames, chosen_frames
    from vidrepro.explain.zoom import require_zoom, show_zoom
    from vidrepro.explain.zoom_strip import write_zoom

    folder = files.results_folder(results)
    (network,) = explain_options.networks_of(
        folder, [run], seed=seed, dataset=dataset, preset=preset, data=files.data_folder(data), device=device,
        split=split, checkpoint=checkpoint,
    )  # fmt: skip
    require_zoom(network)
    places = chosen_frames(frames, network.trained.config.data.frames)
    check_frames(network, places)
    for clip in clips:  # all are looked up before anything is written
        network.clip(clip)
    records: list[dict[str, Any]] = []
    for clip in clips:
        shown = show_zoom(network, clip)
        written = write_zoom(shown, out or folder / "explain" / "zoom", frames=places, moving=not still)
        records.append(shown.record() | {"files": written})
    if json:
        print_json(records)
        return
    printer = console()
    for record in records:
        verdict = "right" if record["right"] else "wrong"
        printer.print(f"{record['clip']}: {record['true']}; predicted {record['predicted']} ({verdict})")
        for branch, one in record["branches"].items():
            text = f"  {branch}: {one['predicted']} ({100 * one['probability']:.0f} %)"
            printer.print(text)
        for name, counts in record["peaks"].items():
            printer.print(f"  {name} peaks by frame: {' '.join(map(str, counts))}")
        if record["object_areas"]:
            areas = ", ".join(f"{name} {100 * area:.1f} %" for name, area in record["object_areas"].items())
            printer.print(f"  the moving object fills: {areas}")
        printer.print(f"  written: {', '.join(record['files'].values())}")
