"""``vidrepro import-checkpoint``: a released checkpoint becomes a weight file for ``--weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vidrepro.cli import options


def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="The released checkpoint: a state dict, or a training checkpoint.")],
    backbone: Annotated[
        str, typer.Option("--backbone", help="resnet18, mobilenetv2, i3d-resnet18, ...; none for one module alone.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The weight file to write.")],
    mechanism: Annotated[
        str | None,
        typer.Option("--mechanism", help="As it was trained: its keys do not tell. Without it, those that fit."),
    ] = None,
    source: Annotated[
        str, typer.Option("--source", help="Whose code wrote it: m2a (gebob19/M2A), aia, stabn or pytorchvideo.")
    ] = "m2a",
    variant: Annotated[str, typer.Option("--variant", help="official or paper.")] = "official",
    temporal_shift: Annotated[bool, typer.Option("--temporal-shift", help="It was trained with TSM's shift.")] = False,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Frames a clip it was trained with.")] = 8,
    classes: Annotated[
        int | None, typer.Option("--classes", min=1, help="Default: as many as its linear layer has.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="Of mechanism or backbone, e.g. input_layout=released."),
    ] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Write what fits even if not every key does.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Rename a released checkpoint's tensors to ours and say what became of every key.

    What is written carries the mechanism it was imported for; --weights refuses it in any other.

    Examples:

      vidrepro import-checkpoint ssv2.pth --source m2a --backbone resnet18 --mechanism m2a --out m2a_r18.pt

      vidrepro import-checkpoint i3d.pth --backbone i3d-resnet18 --mechanism m2a --set input_layout=released --out i.pt

      vidrepro import-checkpoint e.pth --source stabn --backbone slow-r50 --mechanism st-abn --frames 32 --out stabn.pt

      vidrepro import-checkpoint c.pth --source aia --backbone resnet50 --mechanism "CinST->STinC" --out aia_r50.pt
    """
    from vidrepro.cli.output import console, print_json
    from vidrepro.config import parse_override
    from vidrepro.errors import CheckpointError
    from vidrepro.models.released import importing

    if out.resolve() == file.resolve():
        raise CheckpointError("the import would overwrite the released file", given=out, hint="choose another --out")
    settings: dict[str, Any] = {}
    for text in overrides or []:
        settings |= parse_override(text)
    imported = importing.import_checkpoint(
        file,
        backbone=backbone,
        mechanism=mechanism,
        source=source,
        variant=variant,
        temporal_shift=temporal_shift,
        frames=frames,
        classes=classes,
        options=settings,
    )
    report = imported.report
    accepted = report.complete or allow_partial
    if accepted:
        imported.write(out)
    lists = {name: getattr(report, name) for name in ("loaded", "missing", "unexpected", "wrong_shape", "unused")}
    if json:
        counts = {name: len(keys) for name, keys in lists.items()}
        about = {key: value for key, value in imported.record.items() if key != "report"}
        print_json(
            {
                **about,
                **lists,
                "entry": report.entry,
                "left_out": report.left_out,
                "counts": counts,
                "complete": report.complete,
                "out": str(out) if accepted else None,
            }
        )
    else:
        say = console().print
        if report.entry or report.left_out:
            say(f"read: {report.entry or 'the file'}; left out: {', '.join(report.left_out) or 'nothing'}")
        for name, keys in lists.items():
            say(f"{name.replace('_', ' ')}: {len(keys)}")
            for key in keys if name not in ("loaded", "unused") else ():
                say(f"  {key}")
    if not accepted:
        raise CheckpointError(
            f"the file is not the state dict of {mechanism} on {backbone} as {imported.record['project']} has it",
            given=report,
            allowed="every key of the file in the network, every tensor of the network in the file, in the same shapes",
            hint="another --backbone, --mechanism, --temporal-shift, --frames or --set; or --allow-partial",
            where=file,
        )
    if not json:
        say(f"imported for {mechanism} ({variant}) on {backbone}, {frames} frames: {out}")
