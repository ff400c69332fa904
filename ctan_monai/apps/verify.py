"""``ctan-monai verify``: check that prepared data are as they were written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXIT_PROBLEMS = 1
_LISTED = 20


def verify(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="What `prepare` wrote.")],
) -> None:
    """Check prepared data: every byte, every case against itself, no patient in two splits.

    Leaves with 1 if something is wrong.
    """
    from rich.console import Console
    from rich.text import Text

    from ctan_monai.data.dicom.manifest import verify_prepared

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
