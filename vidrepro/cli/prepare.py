"""``vidrepro prepare``: an official download, or nothing at all, becomes a manifest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidrepro.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from vidrepro.data.manifest import Manifest

INTERRUPTED = 130
SHOWN_PROBLEMS = 20


def prepare(
    dataset: Annotated[
        str, typer.Argument(help="A dataset's name; or [bold]list[/bold]; or [bold]verify[/bold] and a name.")
    ],
    name: Annotated[str | None, typer.Argument(help="After verify: the prepared dataset.")] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="Version of the synthetic dataset: tiny, small or full \\[default: tiny]."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Where your download lies; for synthetic: where its clips shall go instead."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Other clips of the same kind (synthetic) \\[default: 0].")
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

    An interrupted preparation is continued by the same command; a finished one is left as it is.

    Examples:

      vidrepro prepare synthetic

      vidrepro prepare synthetic --preset small --workers 4

      vidrepro prepare verify synthetic

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
        prepare_dataset(dataset, preset, root, seed, workers, force, data, json=json)


def prepare_dataset(
    dataset: str,
    preset: str | None = None,
    root: Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    force: bool = False,
    data: Path | None = None,
    *,
    json: bool = False,
) -> None:
    """What ``vidrepro prepare DATASET`` does; also the start of an ablation that finds the embedded dataset missing."""
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.data.sources import Options, find_source
    from vidrepro.data.sources.synthetic import PreparationInterrupted

    source = find_source(dataset)
    out = console(for_json=json)
    try:
        with _progress(f"preparing {dataset}") as progress:
            manifest = source.prepare(
                Options(
                    data_folder=files.data_folder(data),
                    dataset=dataset,
                    root=root,
                    preset=preset,
                    seed=seed,
                    workers=workers,
                    force=force,
                    progress=progress,
                    say=lambda sentence: out.print(sentence, markup=False),
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
    out.print(f"{manifest.name}: {clips} clips, {len(manifest.classes)} classes, in {manifest.folder}", markup=False)
    if summary["order_blind_ceiling"] is not None:
        pairs = len(manifest.info["reversal_pairs"])
        out.print(
            f"{pairs} pairs of classes are each other's time reversal: whatever ignores frame order cannot exceed "
            f"{100 * summary['order_blind_ceiling']:.1f} % on average (the order-blind ceiling)"
        )
    out.print(f"fingerprint {manifest.fingerprint}", markup=False)


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
    }


def _list(*, json: bool) -> None:
    from dataclasses import asdict

    from rich.table import Table

    from vidrepro.cli.output import console, print_json
    from vidrepro.data.sources import NOT_YET, describe_all

    descriptions = describe_all()
    if json:
        print_json({"can be prepared": [asdict(entry) for entry in descriptions], "not yet": list(NOT_YET)})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("dataset", "content", "comes from"):
        table.add_column(column)
    for entry in descriptions:
        table.add_row(entry.name, entry.content, entry.origin)
    out = console()
    out.print(table)
    out.print(f"\nnot supported by this version yet: {', '.join(NOT_YET)}")


def _verify(name: str, data: Path | None, *, json: bool) -> None:
    from vidrepro import files
    from vidrepro.cli.output import console, print_json
    from vidrepro.data.manifest import check_files, load_manifest
    from vidrepro.data.sources import SOURCES

    manifest = load_manifest(name, files.data_folder(data))
    with _progress(f"checking {name}") as progress:
        problems = check_files(manifest, quick=False, progress=progress)
    if json:
        found = [{"id": one.clip, "path": str(one.path), "line": one.line, "problem": one.problem} for one in problems]
        print_json({"name": name, "fingerprint": manifest.fingerprint, "clips": len(manifest.table), "problems": found})
    else:
        out = console()
        for one in problems[:SHOWN_PROBLEMS]:
            out.print(f"{manifest.path}, line {one.line}: clip {one.clip}: {one.problem}", markup=False)
        if len(problems) > SHOWN_PROBLEMS:
            out.print(f"… and {len(problems) - SHOWN_PROBLEMS} more")
        verdict = f"{len(problems)} with a problem" if problems else "all as recorded"
        out.print(f"{name}: {len(manifest.table)} clips, {verdict} (fingerprint {manifest.fingerprint})", markup=False)
        if problems:
            again = f"vidrepro prepare {name}" if name in SOURCES else "put back the files that were there"
            out.print(f"next: {again}", markup=False)
    if problems:
        raise typer.Exit(1)


def _progress(label: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """A bar on stderr that appears with the first report; gives the function to report with."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    @contextmanager
    def bar() -> Iterator[Callable[[int, int], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as display:
            task = display.add_task(label, total=None, visible=False)
            yield lambda done, total: display.update(task, completed=done, total=total, visible=True)

    return bar()
