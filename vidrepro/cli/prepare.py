"""``vidrepro prepare``: an official download, or nothing at all, becomes a manifest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidrepro.cli import options

if TYPE_CHECKING:
    from vidrepro.data.manifest import Manifest

INTERRUPTED = 130
SHOWN_PROBLEMS = 20


def prepare(
    dataset: Annotated[
        str, typer.Argument(help="A dataset's name; or [bold]list[/bold]; or [bold]verify[/bold] and a name.")
    ],
    name: Annotated[str | None, typer.Argument(help="After verify: the prepared dataset.")] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Where your download lies; for synthetic: where its clips shall go instead."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="The official fold to use, e.g. split2 \\[default: the first].")
    ] = None,
    label_order: Annotated[
        str | None, typer.Option("--label-order", help="Another order of the classes \\[default: the papers' code's].")
    ] = None,
    allow_missing: Annotated[
        float,
        typer.Option("--allow-missing", metavar="FRACTION", help="Accept this share of missing and bad clips; 1: any."),
    ] = 0.0,
    reencode: Annotated[
        int | None,
        typer.Option("--reencode", metavar="SHORT_SIDE", help="Make smaller H.264 copies; worth it for 720p sources."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", metavar="SHORT_SIDE", help="Make copies as JPEG pictures instead.")
    ] = None,
    quality: Annotated[
        int | None, typer.Option("--quality", help="Of copies: crf \\[default: 18], or JPEG quality \\[default: 95].")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only estimate time and disk from a few clips; write nothing.")
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="Version of the synthetic dataset: tiny, small or full \\[default: tiny]."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, max=options.MAX_SEED, help="Other clips of the same kind (synthetic) \\[default: 0]."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes; the result does not depend on it \\[default: cores]."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what was prepared with other settings, or is damaged.")
    ] = False,
    data: options.Data = None,
    json: options.Json = False,
) -> None:
    """Prepare a dataset, check a prepared one again, or list what can be prepared.

    An interrupted preparation is continued by the same command; a finished one is left as it is. Nothing is written
    below --root. [bold]vidrepro prepare NAME --help[/bold] tells where a dataset comes from.

    Examples:

      vidrepro prepare synthetic

      vidrepro prepare ssv2 --root /downloads/ssv2 --workers 8

      vidrepro prepare egtea --root /downloads/egtea --split split2 --reencode 256

      vidrepro prepare verify ssv2

      vidrepro prepare list
    """
    if dataset != "verify" and name is not None:
        raise typer.BadParameter(f"'{name}' is one argument too many; only verify takes a second")
    if dataset == "list":
        _list(json=json)
    elif dataset == "verify":
        if name is None:
            raise typer.BadParameter(
                "verify needs the name of a prepared dataset, e.g. vidrepro prepare verify synthetic"
            )
        _verify(name, data, json=json)
    else:
        asked = {
            "root": root,
            "split": split,
            "label_order": label_order,
            "allow_missing": allow_missing,
            "reencode": reencode,
            "frames": frames,
            "quality": quality,
            "preset": preset,
            "seed": seed,
            "workers": workers,
            "force": force,
        }
        (_estimate if dry_run else prepare_dataset)(dataset, data=data, json=json, **asked)


def prepare_dataset(dataset: str, *, data: Path | None = None, json: bool = False, **asked: Any) -> None:
    """What ``vidrepro prepare DATASET`` does; also the start of an ablation that finds the embedded dataset missing.

    Args:
        dataset: its name.
        data: folder of prepared datasets.
        json: print JSON alone.
        asked: further attributes of `vidrepro.data.sources.contract.Options`.
    """
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.cli.progress import progress_bars
    from vidrepro.data.sources import find_source
    from vidrepro.data.sources.contract import Options, PreparationInterrupted

    source = find_source(dataset)
    out = console(for_json=json)
    try:
        with progress_bars() as bar:
            manifest = source.prepare(
                Options(
                    data_folder=files.data_folder(data),
                    dataset=dataset,
                    progress=bar(f"preparing {dataset}", "clips"),
                    unpack_progress=bar("unpacking", "bytes"),
                    say=lambda sentence: out.print(sentence, soft_wrap=True),
                    **asked,
                )
            )
    except PreparationInterrupted as interruption:
        print(interruption, file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    summary = _summary(manifest)
    if json:
        print_json(summary)
        return
    clips = ", ".join(f"{count['ok']} {split}" + _bad_text(count["bad"]) for split, count in manifest.counts().items())
    out.print(f"{manifest.name}: {clips} clips, {len(manifest.classes)} classes, in {manifest.folder}")
    if summary["order_blind_ceiling"] is not None:
        pairs = len(manifest.info["reversal_pairs"])
        out.print(
            f"{pairs} pairs of classes are each other's time reversal: whatever ignores frame order cannot exceed "
            f"{100 * summary['order_blind_ceiling']:.1f} % on average (the order-blind ceiling)"
        )
    out.print(f"fingerprint {manifest.fingerprint}")


def _estimate(dataset: str, *, data: Path | None = None, json: bool = False, **asked: Any) -> None:
    from dataclasses import asdict

    from vidrepro import files
    from vidrepro.cli.datasets import print_estimate
    from vidrepro.cli.output import console, print_json
    from vidrepro.data.known import OFFICIAL
    from vidrepro.data.sources import find_source
    from vidrepro.data.sources.contract import Options
    from vidrepro.errors import ConfigError

    source = find_source(dataset)
    if dataset not in OFFICIAL:
        raise ConfigError(f"--dry-run has no meaning for '{dataset}'", allowed=OFFICIAL)
    found = source.estimate(Options(files.data_folder(data), dataset, **asked))  # type: ignore[attr-defined]
    if json:
        print_json({"name": dataset, **asdict(found)})
    else:
        print_estimate(console(), dataset, found)


def _bad_text(bad: int) -> str:
    return f" (and {bad} bad)" if bad else ""


def _summary(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "folder": str(manifest.folder),
        "fingerprint": manifest.fingerprint,
        "version": manifest.info["version"],
        "preset": manifest.info["preset"],
        "seed": manifest.info["seed"],
        "classes": manifest.classes,
        "counts": manifest.counts(),
        "order_blind_ceiling": manifest.info["order_blind_ceiling"],
        "completeness": manifest.info.get("completeness"),
    }


def _list(*, json: bool) -> None:
    from dataclasses import asdict

    from vidrepro.cli.datasets import print_list
    from vidrepro.cli.output import console, print_json
    from vidrepro.data.sources import describe_all

    descriptions = describe_all()
    if json:
        print_json({"can be prepared": [asdict(entry) for entry in descriptions]})
    else:
        print_list(console(), descriptions)


def _verify(name: str, data: Path | None, *, json: bool) -> None:
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.cli.progress import progress_bars
    from vidrepro.data.known import SOURCES, prepare_command
    from vidrepro.data.manifest import load_manifest
    from vidrepro.data.verify_files import check_files

    manifest = load_manifest(name, files.data_folder(data))
    with progress_bars() as bar:
        problems = check_files(manifest, quick=False, progress=bar(f"checking {name}", "clips"))
    if json:
        found = [{"id": one.clip, "path": str(one.path), "line": one.line, "problem": one.problem} for one in problems]
        print_json({"name": name, "fingerprint": manifest.fingerprint, "clips": len(manifest.table), "problems": found})
    else:
        out = console()
        for one in problems[:SHOWN_PROBLEMS]:
            out.print(f"{manifest.path}, line {one.line}: clip {one.clip}: {one.problem}")
        if len(problems) > SHOWN_PROBLEMS:
            out.print(f"… and {len(problems) - SHOWN_PROBLEMS} more")
        verdict = f"{len(problems)} with a problem" if problems else "all as recorded"
        out.print(f"{name}: {len(manifest.table)} clips, {verdict} (fingerprint {manifest.fingerprint})")
        if problems:
            again = prepare_command(name) if name in SOURCES else "put back the files that were there"
            out.print(f"next: {again}")
    if problems:
        raise typer.Exit(1)
