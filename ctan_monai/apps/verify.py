"""``ctan-monai verify``: check data before they are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctan_monai.errors import ConfigError

if TYPE_CHECKING:
    from ctan_monai.data.datasets.tabular.checks import Checked

EXIT_PROBLEMS = 1
_LISTED = 20
EPILOG = """[bold]Examples[/]

  ctan-monai verify PREPARED

  ctan-monai verify --bundle lesions --datalist cases.csv

  ctan-monai verify --bundle bundles/ham10000 --dataset-dir HAM10000
"""


def verify(
    folder: Annotated[
        Path | None, typer.Argument(exists=True, file_okay=False, help="What `prepare` wrote; or else give --bundle.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Bundle whose tasks the data are checked for.")
    ] = None,
    datalist: Annotated[
        Path | None, typer.Option(help="Table of your cases; without one, the bundle's own data are checked.")
    ] = None,
    dataset_dir: Annotated[Path | None, typer.Option(file_okay=False, help="As for the bundle's training.")] = None,
    listed: Annotated[int, typer.Option(min=1, help="Problems to list.")] = 50,
) -> None:
    """Check data: every file is read, every label looked at, the splits are compared.

    Leaves with 1 if something must be corrected.
    """
    if (folder is None) == (bundle is None):
        raise ConfigError("verify", "it checks a prepared folder, or data for a bundle.", "Give FOLDER or --bundle.")
    if folder is not None:
        _verify_prepared(folder)
        return
    from rich.console import Console
    from rich.text import Text

    from ctan_monai.apps.verify_tables import known_table, problems_table

    found = _check_for(bundle or Path(), datalist, dataset_dir)
    console = Console()
    if found.problems:
        console.print(problems_table(found.problems[:listed]))
    if len(found.problems) > listed:
        console.print(f"... and {len(found.problems) - listed} more; --listed {len(found.problems)} shows all")
    if found.cases:
        console.print("Cases, and in how many of them each label is known:")
        console.print(known_table(found))
    warnings = len(found.problems) - found.faults
    words = f"{found.faults} faults and {warnings} warnings in {sum(found.cases.values())} cases that could be read."
    console.print(Text(words, style="red" if found.faults else "yellow" if warnings else "green"))
    if found.faults:
        raise typer.Exit(EXIT_PROBLEMS)


def _check_for(bundle: Path, datalist: Path | None, dataset_dir: Path | None) -> Checked:
    """Check what a bundle would be trained on."""
    from ctan_monai.apps.verify_bundle import check_bundle

    return check_bundle(bundle, datalist, dataset_dir)


def _verify_prepared(folder: Path) -> None:
    """Check what `prepare` wrote: every byte, every case against itself, no patient in two splits."""
    from rich.console import Console
    from rich.text import Text

    from ctan_monai.data.datasets.prostate.manifest import verify_prepared

    cases, problems = verify_prepared(folder)
    console = Console()
    for problem in problems[:_LISTED]:
        console.print(Text(problem, style="red"), soft_wrap=True)
    if len(problems) > _LISTED:
        console.print(f"... and {len(problems) - _LISTED} more")
    if problems:
        console.print(Text(f"{len(problems)} problems in {cases} cases. Prepare the data again.", style="red"))
        raise typer.Exit(EXIT_PROBLEMS)
    console.print(f"{cases} cases are whole.")
