"""``vidrepro explain``: what trained networks look at. One command per kind of picture."""

from __future__ import annotations

import typer

from vidrepro.cli.explain_attention import attention
from vidrepro.cli.explain_energy import energy
from vidrepro.cli.explain_gradcam import gradcam
from vidrepro.cli.explain_zoom import zoom

explain = typer.Typer(
    name="explain",
    no_args_is_help=True,
    help="Look inside trained networks: heat maps over a clip's frames, and the attention they compute.",
    epilog="Examples: vidrepro explain gradcam m2a/table1/m2a CLIP; vidrepro explain attention RUN CLIP",
    rich_markup_mode="rich",
)
for command in (gradcam, attention, zoom, energy):
    explain.command()(command)
