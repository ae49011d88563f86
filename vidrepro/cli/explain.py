"""``vidrepro explain``: what trained networks look at. One command per kind of picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vidrepro.cli import options

explain = typer.Typer(
    name="explain",
    no_args_is_help=True,
    help="Look inside trained networks: heat maps over a clip's frames.",
    epilog="Examples: vidrepro explain gradcam m2a/table1/m2a CLIP",
    rich_markup_mode="rich",
)


@explain.callback()
def _explain() -> None:
    """A callback keeps this a group of commands even while it has one."""


@explain.command()
def gradcam(
    run: Annotated[str, typer.Argument(help="A run, or an experiment (m2a/table1/m2a): its run with --seed.")],
    clips: Annotated[list[str], typer.Argument(help="Ids of clips, as in the dataset's manifest.csv.")],
    more: Annotated[
        list[str] | None, typer.Option("--run", help="Another run, shown beneath the first; may be repeated.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Layer by name (default: layer2; of a MobileNetV2 features.6).")
    ] = None,
    about: Annotated[str, typer.Option("--class", help="Whose evidence: the predicted class, or the true one.")] = (
        "predicted"
    ),
    split: Annotated[
        str | None, typer.Option("--split", help="Where the clips are (default: val, or test where there is no val).")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of experiments: the run with this seed.")] = 0,
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="best or last.")] = "best",
    dataset: Annotated[str | None, typer.Option("--dataset", help="Of experiments: run on this dataset.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Of experiments: run with this preset.")] = None,
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
    from vidrepro.devices import choose_device
    from vidrepro.explain.clips import load_networks
    from vidrepro.explain.gradcam_strip import check_layers, explain_clip, write_explained
    from vidrepro.report.run_sets import find_one_run

    folder = files.results_folder(results)
    sets = [find_one_run(folder, name, seed=seed, dataset=dataset, preset=preset) for name in (run, *(more or ()))]
    networks = load_networks(
        sets, data=files.data_folder(data), device=choose_device(device), split=split, checkpoint=checkpoint
    )
    layers = check_layers(networks, layer)
    for clip in clips:  # all are looked up before anything is written
        networks[0].clip(clip)
    records: list[dict[str, Any]] = []
    for clip in clips:
        explained = explain_clip(networks, layers, clip, about)
        picture, arrays = write_explained(explained, out or folder / "explain" / "gradcam", about)
        written = {"picture": str(picture), "arrays": str(arrays)}
        records.append({"clip": clip, **written, "networks": [one.record() for one in explained]})
    if json:
        print_json(records)
        return
    printer = console()
    for record in records:
        printer.print(f"[bold]{record['clip']}[/bold]: {record['networks'][0]['true']}")
        for one in record["networks"]:
            shares = " ".join(f"{100 * share:.0f}" for share in one["frame_shares"])
            verdict = "right" if one["right"] else "wrong"
            printer.print(
                f"  {one['label']} ({one['run']}): {one['predicted']} ({100 * one['probability']:.0f} %, {verdict}); "
                f"heat by frame in %: {shares}"
            )
            if one["interpolated_in_time"]:
                printer.print(f"    {one['layer']} has {one['map_size'][0]} positions in time, interpolated to frames")
        printer.print(f"  written: {record['picture']}, {record['arrays']}")
