"""``ctan-monai pack``: a bundle with trained weights, as the MONAI Model Zoo wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

  ctan-monai pack bundles/openkbp --weights bundles/openkbp/runs/ctan --out packed

  ctan-monai pack bundles/openkbp --weights "\\[runs/fold0,runs/fold1]" --out packed

  ctan-monai pack bundles/ham10000 --weights model.safetensors --out packed --no-vendor
"""


def pack(
    bundle: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of the bundle.")],
    weights: Annotated[Path, typer.Option(help=r"Folder of a run; \[a,b]: an ensemble; or a file of weights.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for BUNDLE/ and BUNDLE.zip.")],
    vendor: Annotated[
        bool, typer.Option(help="Put the code into scripts/; else the bundle needs a checkout of this package.")
    ] = True,
    url: Annotated[str | None, typer.Option(help="Address under which files over 25 MB will lie.")] = None,
    case_names: Annotated[
        bool, typer.Option("--case-names", help="Pack which case was in which split, by name.")
    ] = False,
) -> None:
    """Pack a bundle with trained weights for the MONAI Model Zoo.

    The configs get the run's settings, the pages its metrics. Nothing that is there already is overwritten.
    """
    from rich.console import Console
    from rich.text import Text

    from ctan_monai.share.pack import URL, pack_bundle

    packed = pack_bundle(bundle, weights, out, vendor, URL if url is None else url, case_names)
    console = Console()
    size = packed.archive.stat().st_size / 1e6
    console.print(Text(f"{packed.folder}\n{packed.archive} ({size:.1f} MB)"), soft_wrap=True)
    for warning in packed.warnings:
        console.print(Text(warning, style="yellow"), soft_wrap=True)
    if packed.large and url is None:
        words = f"Over 25 MB: {', '.join(packed.large)}. Write into large_files.yml where they lie, or give --url."
        console.print(Text(words, style="yellow"), soft_wrap=True)
