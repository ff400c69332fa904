"""Entry point of the command line: subcommands, and errors as one line."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ctan_monai import __version__
from ctan_monai.apps import (
    compare,
    diagnose,
    export,
    federate,
    label_app,
    new,
    node,
    pack,
    prepare,
    report,
    score,
    verify,
)
from ctan_monai.errors import explain, show_any_letter

EXIT_REFUSED = 2  # something that the user gave cannot be used, as for a wrong option


class OneLineErrors(TyperGroup):
    """Typer group that shows errors known to `errors.explain` as one red line instead of a traceback."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # typer's context is click's
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if (found := explain(error)) is None:
                raise
            from rich.console import Console
            from rich.text import Text

            Console(stderr=True).print(Text(f"Error: {found}", style="red"), soft_wrap=True)
            raise typer.Exit(EXIT_REFUSED) from error


app = typer.Typer(
    name="ctan-monai",
    cls=OneLineErrors,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(prepare.app, name="prepare")
app.add_typer(score.app, name="score")
app.add_typer(node.app, name="node")
app.command(epilog=compare.EPILOG, context_settings=compare.SETTINGS)(compare.compare)
app.command()(report.report)
app.command(epilog=diagnose.EPILOG, context_settings=diagnose.SETTINGS)(diagnose.diagnose)
app.command(epilog=verify.EPILOG)(verify.verify)
app.command(epilog=new.EPILOG)(new.new)
app.command(epilog=export.EPILOG)(export.export)
app.command(epilog=pack.EPILOG)(pack.pack)
app.command(epilog=label_app.EPILOG)(label_app.label_app)
app.command(epilog=federate.EPILOG, context_settings=federate.SETTINGS)(federate.federate)


def _show_version(wanted: bool) -> None:
    if wanted:
        from ctan_monai.engines.runs.versions import versions

        typer.echo(f"ctan-monai {__version__}")
        for name, value in versions().items():
            typer.echo(f"{name}: {value or 'none'}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show versions and processor, and leave.",
        ),
    ] = False,
) -> None:
    """Multi-task learning for medical images on MONAI.

    Training, evaluation and inference are run with python -m monai.bundle run.
    """


def main() -> None:
    """Run the command line."""
    show_any_letter()
    app(prog_name="ctan-monai")
