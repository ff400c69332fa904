"""``ctan-monai label-app``: a bundle and a run as an app for MONAI Label's server."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

  ctan-monai label-app --bundle bundles/prostate --out app

  ctan-monai label-app --bundle bundles/prostate --run runs/hps --out app --upload-mib 512
"""


def label_app(
    bundle: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the bundle.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the app.")],
    run: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of a run; BUNDLE/runs/ctan.")
    ] = None,
    upload_mib: Annotated[float, typer.Option(help="Largest request, and file unpacked, in MiB.")] = 1024,
    origin: Annotated[
        list[str] | None, typer.Option(help="Web page that may use the server, such as http://127.0.0.1:3000.")
    ] = None,
) -> None:
    """Write an app that MONAI Label's server loads: every task as a model, learning from labels, what to label next.

    The server runs in an environment of its own, see docs/label.md.
    """
    from rich.console import Console

    from ctan_monai.serve.write_app import write_app

    app = write_app(bundle, bundle / "runs" / "ctan" if run is None else run, out, upload_mib, origin or ())
    folder = shlex.quote(str(app.root))
    console = Console()
    for line in (
        f"Written: {app.root}. Where monailabel is installed, start it for a folder of images:",
        f"  python {folder}/start.py STUDIES",
        f"or  monailabel start_server --app {folder} --studies STUDIES --host 127.0.0.1",
    ):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
