"""``ctan-monai verify``: check data before they are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ctan_monai.aliases import current_names
from ctan_monai.config_values import refuse_code
from ctan_monai.data.datasets.tabular.checks import Checked, Problem, check_items, check_table
from ctan_monai.data.datasets.tabular.datalist import find_table
from ctan_monai.data.datasets.tabular.layout import as_layout
from ctan_monai.errors import ConfigError, find_ctan_error

_OWN = ("ctan_monai.data.tabular_datalist", "ctan_monai.data.datasets.tabular.")
_LAYOUT = ("image_channels", "spatial_dims", "size", "spacing_mm", "axes", "label_values")
_STYLES = {"fault": "red", "warning": "yellow"}


def check_bundle(bundle: Path, datalist: Path | None, dataset_dir: Path | None) -> Checked:
    """Check the data that a bundle's training would get.

    Args:
        bundle: its folder.
        datalist: as its option.
        dataset_dir: as its option.

    Raises:
        ConfigError: it is no bundle whose config lists cases.
        DataError: the table, or the data set, as a whole cannot be used.
    """
    from monai.bundle import ConfigParser

    path = bundle / "configs" / "train.yaml"
    if not path.is_file():
        raise ConfigError("--bundle", f"{bundle} has no configs/train.yaml.", "Name the folder of a bundle.")
    parser = ConfigParser()
    parser.read_config(str(path))
    parser["bundle_root"] = str(bundle.resolve())
    for name, value in (("datalist", datalist), ("dataset_dir", dataset_dir)):
        if value is not None:
            if name not in parser.config:
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(option, f"{path} has no such option.", "Leave it out.")
            refuse_code(str(value), f"--{name.replace('_', '-')}", "Write ./ before it.")
            parser[name] = str(value)
    try:
        return _check(parser, path)
    except (RuntimeError, ValueError, KeyError) as error:  # MONAI wraps what a component raised
        found = find_ctan_error(error)
        if found is None:
            reason = f"it cannot be understood ({type(error).__name__}: {error})."
            raise ConfigError(str(path), reason, "Correct it.") from error
        raise found from None


def _check(parser: Any, path: Path) -> Checked:
    lists = parser.config.get("datalists", {})
    if not isinstance(lists, dict) or "tasks" not in parser.config:
        raise ConfigError(str(path), "it lists no datalists and tasks.", "Check the data of another bundle.")
    tasks = parser.get_parsed_content("tasks")
    if not current_names(str(lists.get("_target_", ""))).startswith(_OWN):
        return check_items(parser.get_parsed_content("datalists"), tasks)
    given = {name: parser.get_parsed_content(f"datalists#{name}") for name in lists if not name.startswith("_")}
    layout = as_layout(tasks, **{name: given[name] for name in _LAYOUT if name in given})
    folder = given.get("dataset_dir")
    table, _ = find_table(given.get("datalist"), folder, given["cache_dir"], layout, given.get("sample", "ct"))
    return check_table(table, folder, layout, given.get("fold", 0))


def problems_table(problems: Sequence[Problem]) -> Table:
    """Tabulate the problems."""
    table = Table()
    for column in ("", "where", "case", "found", "remedy"):
        table.add_column(column, overflow="fold")
    for problem in problems:
        cells = (problem.level, problem.where, problem.case, problem.what, problem.remedy)
        table.add_row(*(Text(cell, style=_STYLES[problem.level] if at == 0 else "") for at, cell in enumerate(cells)))
    return table


def known_table(checked: Checked) -> Table:
    """Tabulate the cases of each split, and those with each label known."""
    table = Table()
    table.add_column("")
    for split in checked.cases:
        table.add_column(split, justify="right")
    table.add_row("cases", *(str(count) for count in checked.cases.values()))
    for name, counts in checked.known.items():
        table.add_row(Text(name), *(str(counts.get(split, 0)) for split in checked.cases))
    return table


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
    """Check the data of a bundle's training."""
    return check_bundle(bundle, datalist, dataset_dir)


def _verify_prepared(folder: Path) -> None:
    """Verify what `prepare` wrote: every byte, every case, no patient in two splits."""
    from rich.console import Console
    from rich.text import Text

    from ctan_monai.data.datasets.dicom_rt.manifest import verify_prepared

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
