"""``vidrepro explain``: what trained networks look at. One command per kind of picture."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidrepro.cli import options

if TYPE_CHECKING:
    from vidrepro.explain.clips import Network

explain = typer.Typer(
    name="explain",
    no_args_is_help=True,
    help="Look inside trained networks: heat maps over a clip's frames, and the attention they compute.",
    epilog="Examples: vidrepro explain gradcam m2a/table1/m2a CLIP; vidrepro explain attention RUN CLIP",
    rich_markup_mode="rich",
)


Run = Annotated[str, typer.Argument(help="A run, or an experiment (m2a/table1/m2a): its run with --seed.")]
Clips = Annotated[list[str], typer.Argument(help="Ids of clips, as in the dataset's manifest.csv.")]
Split = Annotated[
    str | None, typer.Option("--split", help="Where the clips are (default: val, or test where there is no val).")
]
Seed = Annotated[int, typer.Option("--seed", help="Of experiments: the run with this seed.")]
Checkpoint = Annotated[str, typer.Option("--checkpoint", help="best or last.")]
OfDataset = Annotated[str | None, typer.Option("--dataset", help="Of experiments: run on this dataset.")]
OfPreset = Annotated[str | None, typer.Option("--preset", help="Of experiments: run with this preset.")]
What = Annotated[
    str | None,
    typer.Option(
        "--what",
        help="Which attention: names as the network has them, patterns of the taps' dotted names ('*layer3*'), or all; "
        "commas between several (default: of each kind the one in the layer that gradcam shows).",
    ),
]


@explain.command()
def gradcam(
    run: Run,
    clips: Clips,
    more: Annotated[
        list[str] | None, typer.Option("--run", help="Another run, shown beneath the first; may be repeated.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Layer by name (default: layer2; of a MobileNetV2 features.6).")
    ] = None,
    about: Annotated[str, typer.Option("--class", help="Whose evidence: the predicted class, or the true one.")] = (
        "predicted"
    ),
    split: Split = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = "best",
    dataset: OfDataset = None,
    preset: OfPreset = None,
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
    from vidrepro.devices import choose_device
    from vidrepro.explain.animation import animate_explained
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
        if animate:
            gif, mp4 = animate_explained(explained, picture.with_suffix(""))
            written |= {"gif": str(gif), "mp4": str(mp4)}
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
        files_written = [record[kind] for kind in ("picture", "gif", "mp4", "arrays") if kind in record]
        printer.print(f"  written: {', '.join(files_written)}", markup=False)


@explain.command()
def attention(
    run: Run,
    clips: Clips,
    what: What = None,
    frames: Annotated[
        str | None,
        typer.Option(
            "--frames",
            help="Frames in the picture: how many, evenly spread (8), or which of those the network sees (1,4,7).",
        ),
    ] = None,
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
    still: Annotated[bool, typer.Option("--still", help="No GIF and no MP4.")] = False,
    split: Split = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = "best",
    dataset: OfDataset = None,
    preset: OfPreset = None,
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
    from vidrepro.explain.attention_energy import energies_of, is_embedded
    from vidrepro.explain.attention_strip import Drawing, check_drawing, chosen_frames, show_attention, write_attention

    folder = files.results_folder(results)
    network = _one_network(folder, run, seed, dataset, preset, files.data_folder(data), device, split, checkpoint)
    drawing = Drawing(
        colours, scale, chosen_frames(frames, network.trained.config.data.frames), moving=not still
    )  # fmt: skip
    check_drawing(network, drawing, what)
    for clip in clips:  # all are looked up before anything is written
        network.clip(clip)
    records: list[dict[str, Any]] = []
    for clip in clips:
        shown = show_attention(network, clip, what)
        written = write_attention(shown, out or folder / "explain" / "attention", drawing, what)
        on_object = [asdict(one) for one in energies_of(shown)] if is_embedded(network) else []
        records.append(shown.record() | {"files": written, "energy": on_object})
    if json:
        print_json(records)
        return
    printer = console()
    for record in records:
        verdict = "right" if record["right"] else "wrong"
        percent = f"{100 * record['probability']:.0f} %"
        printer.print(f"{record['clip']}: {record['true']}; predicted {record['predicted']} ({percent}, {verdict})")
        for tap in record["taps"]:
            text = f"  {tap['what']} ({tap['name']}): {tap['least']:.3f} to {tap['largest']:.3f}"
            if tap["by_frame"]:
                text += "; by frame " + " ".join(f"{value:.2f}" for value in tap["by_frame"])
            printer.print(text + ("" if tap["drawn"] else "; not drawn: neither time nor H and W"), markup=False)
        for one in record["energy"]:
            inside, area, above = (100 * one[f"mask_{part}"] for part in ("share", "area", "floorless"))
            text = f"{inside:.1f} % on the moving object, {area:.1f} % of the picture (above its floor {above:.1f} %)"
            printer.print(f"  {one['tap']}: {text}", markup=False)
        printer.print(f"  written: {', '.join(record['files'].values())}", markup=False)


@explain.command()
def zoom(
    run: Run,
    clips: Clips,
    frames: Annotated[
        str | None,
        typer.Option(
            "--frames",
            help="Frames in the picture: how many, evenly spread (8), or which of those the network sees (1,4,7).",
        ),
    ] = None,
    still: Annotated[bool, typer.Option("--still", help="No GIF and no MP4.")] = False,
    split: Split = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = "best",
    dataset: OfDataset = None,
    preset: OfPreset = None,
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
    from vidrepro.explain.attention_strip import check_frames, chosen_frames
    from vidrepro.explain.zoom import require_zoom, show_zoom
    from vidrepro.explain.zoom_strip import write_zoom

    folder = files.results_folder(results)
    network = _one_network(folder, run, seed, dataset, preset, files.data_folder(data), device, split, checkpoint)
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
        printer.print(f"{record['clip']}: {record['true']}; predicted {record['predicted']} ({verdict})", markup=False)
        for branch, one in record["branches"].items():
            text = f"  {branch}: {one['predicted']} ({100 * one['probability']:.0f} %)"
            printer.print(text, markup=False)
        for name, counts in record["peaks"].items():
            printer.print(f"  {name} peaks by frame: {' '.join(map(str, counts))}", markup=False)
        if record["object_areas"]:
            areas = ", ".join(f"{name} {100 * area:.1f} %" for name, area in record["object_areas"].items())
            printer.print(f"  the moving object fills: {areas}", markup=False)
        printer.print(f"  written: {', '.join(record['files'].values())}", markup=False)


@explain.command()
def energy(
    run: Run,
    clips: Annotated[int, typer.Option("--clips", min=1, help="How many, class by class in turn.")] = 10,
    what: What = None,
    role: Annotated[
        str, typer.Option("--object", help="main, or of presets with props: second, hand, distractor.")
    ] = "main",
    split: Split = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = "best",
    dataset: OfDataset = None,
    preset: OfPreset = None,
    device: options.Device = "auto",
    data: options.Data = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """How much of a network's spatial attention lies on the moving object, on clips of an embedded dataset.

    The share of each map's sum inside the object's pixels (mask) and its box, against their share of the picture; the
    ratio of the two in the mean over clips, with its bootstrap interval.

    Examples:

      vidrepro explain energy RUN --clips 40
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.explain.attention_energy import measure_energy

    folder = files.results_folder(results)
    network = _one_network(folder, run, seed, dataset, preset, files.data_folder(data), device, split, checkpoint)
    record = measure_energy(network, clips, what=what, role=role)
    if json:
        print_json(record)
        return
    from rich.table import Table

    printer = console()
    printer.print(
        f"{record['run']}: attention on object '{role}', {record['clips']} {record['split']} clips", markup=False
    )
    table = Table(
        "attention", "within", "share of the picture", "of the attention", "ratio [95 %]", "above floor [95 %]"
    )
    for name, found in record["taps"].items():
        for region in ("mask", "box"):
            one = found[region]
            ratios = [
                f"{ratio['mean']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
                for ratio in (one["ratio"], one["ratio_above_floor"])
            ]
            table.add_row(name, region, f"{100 * one['area']:.1f} %", f"{100 * one['share']:.1f} %", *ratios)
    printer.print(table)


def _one_network(
    folder: Path,
    run: str,
    seed: int,
    dataset: str | None,
    preset: str | None,
    data: Path,
    device: str,
    split: str | None,
    checkpoint: str,
) -> Network:
    from vidrepro.devices import choose_device
    from vidrepro.explain.clips import load_networks
    from vidrepro.report.run_sets import find_one_run

    sets = [find_one_run(folder, run, seed=seed, dataset=dataset, preset=preset)]
    return load_networks(sets, data=data, device=choose_device(device), split=split, checkpoint=checkpoint)[0]
