"""``ctan-monai diagnose``: does each part of a run's network act?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ctan_monai.engines.diagnosis.diagnose import Options

EPILOG = """[bold]Examples[/]

  ctan-monai diagnose runs/ctan

  ctan-monai diagnose runs/ctan --parts query,cross --cases 100

  ctan-monai diagnose runs/ctan --split validation --device cuda

  ctan-monai diagnose runs/ctan -- --cache_dir /data/cache
"""
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": False}


def diagnose(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a run: model.pt, run.json.")],
    split: Annotated[str, typer.Option(help="test, as the bundle's evaluate.yaml has it, or validation.")] = "test",
    parts: Annotated[
        str | None, typer.Option(help="Kinds of parts, by commas: query, skip, mask, cross, features, shared.")
    ] = None,
    cases: Annotated[int, typer.Option(min=0, help="At most so many cases, drawn at random; 0: all.")] = 32,
    every: Annotated[int, typer.Option(min=1, help="Of volumes read slice by slice, each slice of this number.")] = 1,
    batches: Annotated[int, typer.Option(min=0, help="Training batches for the gradients; 0: none.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the cases, of who gets whose values, and of the intervals.")] = 0,
    output_dir: Annotated[Path | None, typer.Option(file_okay=False, help="Folder to write; RUN/diagnosis.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda ...; cuda if there is one.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure again what diagnosis.json has already.")] = False,
) -> None:
    """Find out whether each part of a multi-task network acts.

    Every case of a split is answered as trained, and with each part's values exchanged: the attended query by its mean
    over cases, masks by 0.5, what comes from the other tasks and each skip connection by another case's. Changes of all
    metrics have intervals over cases. Effective ranks, masks, shares of the logits' variance and the tasks' gradients
    at shared layers stand beside them.

    Writes diagnosis.html, diagnosis.json and CSV tables. The same command once more makes the page again from
    diagnosis.json. What follows -- changes entries of the run's config, as in training: where its data are, say.
    """
    from ctan_monai.apps.overrides import read_pairs
    from ctan_monai.engines.diagnosis.diagnose import Options, fingerprint
    from ctan_monai.files.json_files import read_json
    from ctan_monai.report.diagnosis_files import FILE, FOLDER
    from ctan_monai.report.diagnosis_page import write_page

    kinds = tuple(name.strip() for name in parts.split(",")) if parts else ()
    options = Options(split, kinds, cases, every, batches, seed, overrides=read_pairs(context.args))
    folder = run / FOLDER if output_dir is None else output_dir
    found = None if again else read_json(folder / FILE)
    wanted = fingerprint(run, options)
    if found is None or {name: found.get(name) for name in wanted} != wanted:
        found = _measure(run, options, device, folder)
    else:
        typer.echo(f"{folder / FILE} has this already; --again measures anew.")
    if not found["applies"]:
        typer.echo(f"{found['method']} shares nothing between its tasks: there is no part to ask about.")
        return
    typer.echo(f"{write_page(found, folder, run.resolve().name)}")
    typer.echo(f"A section for the page of the run: ctan-monai report {run}")


def _measure(run: Path, options: Options, device: str | None, folder: Path) -> dict[str, Any]:
    import torch
    from rich.console import Console
    from rich.progress import track

    from ctan_monai.engines.diagnosis.diagnose import diagnose_run
    from ctan_monai.files.json_files import as_json
    from ctan_monai.report.diagnosis_files import write_diagnosis

    console = Console(stderr=True)

    def show(entries: Iterable[Any], title: str, total: int) -> Iterable[Any]:
        return track(entries, f"{title} ({total} batches)", total, console=console, transient=True)

    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    found = diagnose_run(run, options, chosen, show)
    if found["applies"]:
        write_diagnosis(found, folder)
    result: dict[str, Any] = as_json({name: value for name, value in found.items() if name != "per_case"})
    return result
