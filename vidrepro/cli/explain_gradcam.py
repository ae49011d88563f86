"""``vidrepro explain gradcam``: Grad-CAM of one or several networks on whole clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vidrepro.cli import explain_options, options


def gradcam(
    run: explain_options.Run,
    clips: explain_options.Clips,
    more: Annotated[
        list[str] | None, typer.Option("--run", help="Another run, shown beneath the first; may be repeated.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Layer by name (default: layer2; of a MobileNetV2 features.6).")
    ] = None,
    about: Annotated[str, typer.Option("--class", help="Whose evidence: the predicted class, or the true one.")] = (
        "predicted"
    ),
    split: explain_options.Split = None,
    seed: options.SeedOfExperiment = 0,
    checkpoint: options.Checkpoint = "best",
    dataset: options.DatasetOfExperiment = None,
    preset: options.PresetOfExperiment = None,
    animate: Annotated[bool, typer.Option("--animate", help="Write a GIF and an MP4 of each clip too.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for pictures and arrays (default: <results>/explain/gradcam).")
    ] = None,
    device: options.Device = "auto",
    data: options.Data = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Grad-CAM on whole clips, a heat map per frame; several runs side by side, predicted and true label under each.

    A picture (PNG) and the values behind it (.npz) per clip.

    Examples:

      vidrepro explain gradcam m2a/table1/m2a-attention --run m2a/table1/m2a-motion --run m2a/table1/m2a CLIP

      vidrepro explain gradcam RUN CLIP CLIP --layer layer3 --class true
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.explain.animation import animate_explained
    from vidrepro.explain.gradcam_strip import check_layers, explain_clip, write_explained

    folder = files.results_folder(results)
    networks = explain_options.networks_of(
        folder, [run, *(more or ())], seed=seed, dataset=dataset, preset=preset, data=files.data_folder(data),
        device=device, split=split, checkpoint=checkpoint,
    )  # fmt: skip
    layers = check_layers(networks, layer)
    for clip in clips:  # all are looked up before anything is written
        networks[0].clip(clip)
    records: list[dict[str, Any]] = []
    for clip in clips:
        explained = explain_clip(networks, layers, clip, about)
        picture, arrays = write_explained(explained, out or folder / "explain" / "gradcam", about)
        written = {"picture": str(picture), "arrays": str(arrays)}
        if animate:
            gif, mp4 = animate_explained(explained, picture.with_suffix(""))
            written |= {"gif": str(gif), "mp4": str(mp4)}
        records.append({"clip": clip, **written, "networks": [one.record() for one in explained]})
    if json:
        print_json(records)
        return
    printer = console()
    for record in records:
        printer.print(f"{record['clip']}: {record['networks'][0]['true']}")
        for one in record["networks"]:
            shares = " ".join(f"{100 * share:.0f}" for share in one["frame_shares"])
            verdict = "right" if one["right"] else "wrong"
            printer.print(
                f"  {one['label']} ({one['run']}): {one['predicted']} ({100 * one['probability']:.0f} %, {verdict}); "
                f"heat by frame in %: {shares}"
            )
            if one["interpolated_in_time"]:
                printer.print(f"    {one['layer']} has {one['map_size'][0]} positions in time, interpolated to frames")
        files_written = [record[kind] for kind in ("picture", "gif", "mp4", "arrays") if kind in record]
        printer.print(f"  written: {', '.join(files_written)}")
