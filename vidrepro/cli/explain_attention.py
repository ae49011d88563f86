"""``vidrepro explain attention``: the attention a network computes, drawn over a clip."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from vidrepro.cli import explain_options, options


def attention(
    run: explain_options.Run,
    clips: explain_options.Clips,
    what: explain_options.What = None,
    frames: explain_options.Frames = None,
    colours: Annotated[
        str, typer.Option("--colours", help="turbo, jet (as ST-ABN was released), or viridis (as gradcam).")
    ] = "turbo",
    scale: Annotated[
        str,
        typer.Option(
            "--scale",
            help="range (least to largest of the clip), absolute (0 to 1), or released (as ST-ABN's code draws them).",
        ),
    ] = "range",
    still: explain_options.Still = False,
    split: explain_options.Split = None,
    seed: options.SeedOfExperiment = 0,
    checkpoint: options.Checkpoint = "best",
    dataset: options.DatasetOfExperiment = None,
    preset: options.PresetOfExperiment = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for pictures and arrays (default: <results>/explain/attention)."),
    ] = None,
    device: options.Device = "auto",
    data: options.Data = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """The attention a network computes: frames, colour bars over time, maps over the picture, predicted and true class.

    A picture (PNG), an animation (GIF and MP4) and all values (.npz) per clip. On an embedded dataset it also says how
    much of each map lies on the moving object.

    Examples:

      vidrepro explain attention RUN CLIP CLIP

      vidrepro explain attention RUN CLIP --what gate --frames 4 --colours jet --scale absolute
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.explain.attention_energy import energies_of, objects_known
    from vidrepro.explain.attention_strip import Drawing, check_drawing, show_attention, write_attention
    from vidrepro.explain.chosen_frames import chosen_frames

    folder = files.results_folder(results)
    (network,) = explain_options.networks_of(
        folder, [run], seed=seed, dataset=dataset, preset=preset, data=files.data_folder(data), device=device,
        split=split, checkpoint=checkpoint,
    )  # fmt: skip
    places = chosen_frames(frames, network.trained.config.data.frames)
    drawing = Drawing(colours, scale, places, moving=not still)
    check_drawing(network, drawing, what)
    for clip in clips:  # all are looked up before anything is written
        network.clip(clip)
    records: list[dict[str, Any]] = []
    for clip in clips:
        shown = show_attention(network, clip, what)
        written = write_attention(shown, out or folder / "explain" / "attention", drawing, what)
        on_object = [asdict(one) for one in energies_of(shown)] if objects_known(network) else []
        records.append(shown.record() | {"files": written, "energy": on_object})
    if json:
        print_json(records)
        return
    printer = console()
    for record in records:
        verdict = "right" if record["right"] else "wrong"
        percent = f"{100 * record['probability']:.0f} %"
        heading = f"{record['clip']}: {record['true']}; predicted {record['predicted']} ({percent}, {verdict})"
        printer.print(heading)
        for tap in record["taps"]:
            text = f"  {tap['what']} ({tap['name']}): {tap['least']:.3f} to {tap['largest']:.3f}"
            if tap["by_frame"]:
                text += "; by frame " + " ".join(f"{value:.2f}" for value in tap["by_frame"])
            printer.print(text + ("" if tap["drawn"] else "; not drawn: neither time nor H and W"))
        for one in record["energy"]:
            inside, area, above = (100 * one[f"mask_{part}"] for part in ("share", "area", "floorless"))
            text = f"{inside:.1f} % on the moving object, {area:.1f} % of the picture (above its floor {above:.1f} %)"
            printer.print(f"  {one['tap']}: {text}")
        printer.print(f"  written: {', '.join(record['files'].values())}")
