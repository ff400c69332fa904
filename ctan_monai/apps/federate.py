"""``ctan-monai federate``: train one bundle at several sites whose data stay there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ctan_monai.errors import ConfigError

EPILOG = """[bold]Examples[/]

  ctan-monai federate --bundle bundles/openkbp --site a=a.json --site b=b.json --rounds 5 --out federated

  ctan-monai federate --bundle bundles/openkbp --rounds 50 --out job --export -- --epochs 50 --method ctan
"""
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": False}  # of the command, for what follows --


def federate(
    context: typer.Context,
    bundle: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the bundle.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="New folder for what the server keeps, or for the job.")],
    site: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: a site, and the JSON file of its own options; repeat.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often sites train and are averaged.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of a site in a round.")] = 1,
    min_sites: Annotated[int, typer.Option(min=1, help="Sites that must take part, with --export.")] = 2,
    timeout: Annotated[
        int, typer.Option(min=0, help="Seconds a site may take in a round before training ends; 0: no limit.")
    ] = 86400,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in --out after its last complete round, with the same options.")
    ] = False,
    server_dir: Annotated[
        str, typer.Option(help="With --export: folder at the server for its files; the next job there goes on.")
    ] = "",
    export: Annotated[bool, typer.Option("--export", help="Write NVFLARE's job instead of simulating.")] = False,
) -> None:
    """Train one bundle at several sites whose data stay there, by NVFLARE.

    Everything after -- are options of the bundle that all sites share. Without --export all sites are simulated on this
    machine, each in processes of its own.
    """
    from ctan_monai.apps.overrides import read_pairs
    from ctan_monai.federated.files import RECORD_FILE
    from ctan_monai.federated.job import make_job, simulate

    if out.exists() and any(out.iterdir()) and (export or not (resume and (out / RECORD_FILE).is_file())):
        raise ConfigError(
            "--out", f"{out} holds something already.", "Give a new folder, or --resume for a federation."
        )
    options: dict[str, Any] = read_pairs(context.args)
    options.setdefault("epochs", rounds * epochs)  # the schedule's length
    if export:
        make_job(bundle, None, options, rounds, epochs, server_dir or None, min_sites, timeout).export_job(str(out))
        typer.echo(f"NVFLARE's job is in {out}; every site needs {bundle} at the same path, and CTAN_SITE_FILE.")
        return
    files = _sites(site or [])
    simulate(bundle, files, options, rounds, epochs, out, timeout)
    typer.echo(f"{out}: model.pt, run.json, rounds.json")


def _sites(texts: list[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for text in texts:
        name, found, path = text.partition("=")
        if not found or not name or name in files or not Path(path).is_file():
            raise ConfigError("--site", f"{text!r} was found.", "Give NAME=FILE, each name once, files that are there.")
        files[name] = Path(path).resolve()
    if len(files) < 2:
        raise ConfigError("--site", f"{len(files)} were found.", "Give at least two.")
    return files
