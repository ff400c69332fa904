"""``ctan-monai export``: a run's network as TorchScript, ONNX or torch.export file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctan_monai.errors import ConfigError

if TYPE_CHECKING:
    from ctan_monai.share import Exported

EPILOG = """[bold]Examples[/]

  ctan-monai export runs/ctan

  ctan-monai export runs/ctan --format onnx --size 192,256 --out exported

  ctan-monai export runs/ctan --precision int8
"""
_USUAL = {2: (128, 128), 3: (64, 64, 64)}  # pixels of the images that the check is made with


def export(
    run: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a run: model.pt, run.json.")],
    wanted: Annotated[
        list[str] | None, typer.Option("--format", help="torchscript, onnx or export; repeat for several.")
    ] = None,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Folder for the files; RUN/export.")] = None,
    size: Annotated[str | None, typer.Option(help="Rows, columns (and slices) to check with, such as 192,256.")] = None,
    precision: Annotated[str, typer.Option(help="fp32; bf16 (torchscript, export) or int8 (onnx) for a CPU.")] = "fp32",
) -> None:
    """Export a run's best network, and check that each file answers as it does.

    Outputs have the tasks' names. Batch and image size stay open; of a Swin Transformer, ONNX and export files take
    images of one size, the run's or --size. Each file, and a JSON beside it, says what its images
    are like and what its outputs mean.

    A file whose answers differ by more than 1e-4 is not written.

    bf16 makes files of half the size, int8 of 26 to 39 %; they are checked with validation images of the run, which are
    read by the run's own config: Dice of the masks, mean difference of values, same classes. bf16 is quicker on CPUs
    that compute in it (AVX512-BF16, AMX), and slower on others.
    """
    from ctan_monai.engines.runs.run_network import network_of_run
    from ctan_monai.files.atomic import replace_text
    from ctan_monai.share import export_network, export_reduced, images_of_run
    from ctan_monai.share.image_format import image_format_of_run
    from ctan_monai.share.reduced import formats_of

    formats = formats_of(precision, wanted or [])
    if size is not None and precision != "fp32":
        raise ConfigError("--size", f"it was given with {precision}.", "Leave it out: images of the run are used.")
    network = network_of_run(run)
    folder, image = run / "export" if out is None else out, image_format_of_run(run)
    if precision == "fp32":
        usual = image.get("size") if not network.open_size else None
        pixels = _numbers(size) if size is not None else tuple(usual or _USUAL[network.spatial_dims])
        written = export_network(network, folder, formats, pixels, image=image)
    else:
        written = export_reduced(network, folder, formats, precision, images_of_run(run, network), image)
    record = "export.json" if precision == "fp32" else f"export.{precision}.json"
    entries = [{**asdict(entry), "path": entry.path.name} for entry in written]
    replace_text(folder / record, json.dumps(entries, indent=1) + "\n")
    _show(written)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError("--size", f"{text!r} was found.", "Give whole numbers, such as 192,256.") from error


def _show(written: Sequence[Exported]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("file", "MB", "task", "largest difference to the network", "relative error", "answers")
    for entry in written:
        agreements = {found.task: found for found in entry.agreements}
        for position, (task, difference) in enumerate(entry.largest_difference.items()):
            first = (str(entry.path), f"{entry.path.stat().st_size / 1e6:.1f}") if position == 0 else ("", "")
            found = agreements.get(task)
            last = () if found is None else (f"{found.error:.3f}", f"{found.measure} {found.value:.3f}")
            table.add_row(*first, task, f"{difference:.1e}", *last)
    Console().print(table)
