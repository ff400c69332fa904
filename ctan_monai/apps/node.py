"""``ctan-monai node``: a DICOM node that answers what a scanner or a planning system sends."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctan_monai.errors import ConfigError, install

if TYPE_CHECKING:
    from ctan_monai.node.settings import NodeSettings

EPILOG = """[bold]Examples[/]

  ctan-monai node --run bundles/prostate/runs/ctan --config node.yaml

  ctan-monai node check --config node.yaml

  ctan-monai node replay CT --config node.yaml
"""
app = typer.Typer(
    help="Serve a run as a DICOM node: a system sends images, and gets structures and dose back.",
    epilog=EPILOG,
    invoke_without_command=True,
    no_args_is_help=True,
    rich_markup_mode="rich",
)
Config = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="YAML file, see docs/dicom-node.md.")]
Run = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Folder of the run of all rules that name none.")
]
EXIT_UNREACHED = 1


@app.callback()
def node(
    context: typer.Context,
    run: Run = None,
    config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="YAML file of settings.")] = None,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log one JSON object a line.")] = False,
) -> None:
    """Receive studies, predict them by a trained run, and send the answers; Ctrl-C or SIGTERM ends it.

    Nothing is lost by a kill: started again, it goes on. docs/dicom-node.md shows it with Orthanc, step by step.
    """
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise ConfigError("--config", "it is missing.", "Give a YAML file as in docs/dicom-node.md.")
    settings = _read(config, run)
    from ctan_monai.node.logs import log_to_console
    from ctan_monai.node.page import Page
    from ctan_monai.node.service import Node

    log_to_console(json_logs)
    made = Node(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: made.ask_to_stop())
    made.start()
    page = Page(made) if settings.page_port else None
    while not made.wait(1.0):
        if ended := made.ended():
            logging.getLogger(__name__).error("threads have ended: %s", ", ".join(ended))
    if page is not None:
        page.close()
    made.stop()


@app.command()
def check(config: Config, run: Run = None) -> None:
    """Call every destination, and print what its administrator must enter. Leaves with 1 if one is silent."""
    settings = _read(config, run)
    from ctan_monai.node.check import call, entry_for

    typer.echo(entry_for(settings))
    silent = 0
    for destination in settings.destinations.values():
        problem = call(settings, destination)
        silent += bool(problem)
        at = destination.url or f"{destination.ae_title} at {destination.host}:{destination.port}"
        where = f"{destination.name} ({at})"
        typer.echo(f"{where}: {problem or 'answers'}")
    if silent:
        raise typer.Exit(EXIT_UNREACHED)


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of DICOM files.")],
    config: Config,
    run: Run = None,
    host: Annotated[str, typer.Option(help="Where the node listens; '': as the settings say.")] = "",
    calling: Annotated[str, typer.Option(help="AE title to send under; '': the first of callers.")] = "",
) -> None:
    """Send a folder to the node as a scanner would. Leaves with 1 if something was not taken."""
    settings = _read(config, run)
    from ctan_monai.node.check import replay_folder

    stored, refused = replay_folder(folder, settings, host or settings.host, calling)
    typer.echo(f"{stored} instances were stored, {len(refused)} were not.")
    for reason, count in sorted(refused.items()):
        typer.echo(f"  {count}: {reason}")
    if refused:
        raise typer.Exit(EXIT_UNREACHED)


def _read(config: Path, run: Path | None) -> NodeSettings:
    from importlib.util import find_spec

    from ctan_monai.node.settings_file import read_settings

    if find_spec("pynetdicom") is None:
        raise ConfigError("node", "pynetdicom is not installed.", f"Run {install('node', 'pynetdicom')}.")
    return read_settings(config, run)
