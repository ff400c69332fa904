"""Exported file formats: a function that writes and one that runs each."""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ctan_monai.errors import CheckpointError, ConfigError, CtanError, install
from ctan_monai.share.image_format import AXES
from ctan_monai.share.program_check import check_program, check_script

DESCRIPTION = "ctan_monai.json"  # the network's description inside a file
INPUT = "image"
CPU = ("CPUExecutionProvider",)
_WRITTEN_BY_TORCH = ("version", "byteorder", ".data/serialization_id")  # records that a writer adds itself
_logger = logging.getLogger(__name__)
Outputs = dict[str, Tensor]
Run = Callable[[Tensor], Outputs]
Description = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """A file format.

    Args:
        suffix: of its name.
        write: writes a network with its description; the image (B, C, *S) is an example, whose batch the file does not
            fix, nor, unless the description's ``image`` has an ``only_size``, its size. The machine's paths are left
            out, which can hold a person's name.
        read: returns the network as a function, and its description; of the file, and of the execution providers of
            onnxruntime to compute with.
        check: refuses a file that would do more than compute when it is read; None where it cannot.
        traced: it is made by torch.export, which needs minutes where a network's ``open_size`` is false.
    """

    suffix: str
    write: Callable[[nn.Module, Tensor, Path, Description], None]
    read: Callable[..., tuple[Run, Description]]
    check: Callable[[Path], None] | None = None
    traced: bool = True


def read_exported(path: str | Path, trust: bool = False, providers: Sequence[str] = CPU) -> tuple[Run, Description]:
    """Load an exported network of any format.

    Args:
        path: the file.
        trust: open it without a look at what else than tensors it holds, which may run any code.
        providers: onnxruntime's execution providers in order of preference; others than the CPU's for ONNX only.

    Returns:
        A function from an image (B, C, *S) on the CPU to the logits of every task, and the description that run.json
        had; its ``"providers"`` are those in use.

    Raises:
        ConfigError: no format has this suffix, a package is missing, or none of the providers is there.
        CheckpointError: the file cannot be read, or holds what could run code.
    """
    file = Path(str(path))
    for known in FORMATS.values():
        if file.suffix == known.suffix:
            return _read(known, file, trust, tuple(providers))
    suffixes = [known.suffix for known in FORMATS.values()]
    raise ConfigError("model", f"{file.name} ends in {file.suffix!r}.", f"Name a file that ends in one of {suffixes}.")


def _read(known: Format, file: Path, trust: bool, providers: tuple[str, ...]) -> tuple[Run, Description]:
    if not file.is_file():
        raise CheckpointError(file, "there is no such file.", "Export a run first, or correct the path.")
    try:
        if known.check is not None and not trust:
            known.check(file)
        if known is FORMATS["onnx"]:
            return known.read(file, providers)
        if providers != CPU:
            found = f"{file.name} is computed by torch on the CPU, {list(providers)} are onnxruntime's."
            raise ConfigError("providers", found, "Name the run's model.onnx with --exported, or leave providers out.")
        return known.read(file)
    except CtanError:
        raise
    except Exception as error:  # a damaged or hostile program can make its reader raise anything
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(file, f"it is no network that was exported ({first}).", "Export it again.") from error


def _write_torchscript(network: nn.Module, image: Tensor, path: Path, description: Description) -> None:
    torch.jit.save(torch.jit.script(network), str(path), _extra_files={DESCRIPTION: json.dumps(description)})
    _without_debug_records(path)


def _without_debug_records(path: Path) -> None:
    """Remove debug records of source lines, which only error messages need."""
    whole = torch._C.PyTorchFileReader(str(path))
    records = {name: whole.get_record(name) for name in whole.get_all_records()}
    del whole
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, content in records.items():
        if not name.endswith(".debug_pkl") and name not in _WRITTEN_BY_TORCH:
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()


def _read_torchscript(path: Path) -> tuple[Run, Description]:
    extra = {DESCRIPTION: ""}
    module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra).eval()  # type: ignore[no-untyped-call]  # torch.jit has no types
    return _without_gradient(module), json.loads(extra[DESCRIPTION])


def _write_exported_program(network: nn.Module, image: Tensor, path: Path, description: Description) -> None:
    program = torch.export.export(network, (image,), dynamic_shapes=_dynamic(image, description))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # lines of files on this machine
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No complete tensor found")  # of weights that are channels-last
        torch.export.save(program, path, extra_files={DESCRIPTION: json.dumps(description)})


def _read_exported_program(path: Path) -> tuple[Run, Description]:
    extra: dict[str, Any] = {DESCRIPTION: ""}
    module = torch.export.load(path, extra_files=extra).module()
    return _without_gradient(module), json.loads(extra[DESCRIPTION])


def _write_onnx(network: nn.Module, image: Tensor, path: Path, description: Description) -> None:
    needs("onnxscript")
    names = [task["name"] for task in description["tasks"]]
    with redirect_stdout(io.StringIO()), _Quiet("torch.onnx"):
        program = torch.onnx.export(
            network,
            (image,),
            dynamo=True,
            dynamic_shapes=_named(image, description),
            input_names=[INPUT],
            output_names=names,
        )
    if program is None:
        raise CheckpointError(path, "torch.onnx gave no program back.", "Use another version of torch.")
    for node in program.model.graph:
        node.metadata_props.clear()  # lines of files on this machine
    program.model.metadata_props[DESCRIPTION] = json.dumps(description)
    program.save(str(path), external_data=False)


def _read_onnx(path: Path, providers: Sequence[str] = CPU) -> tuple[Run, Description]:
    runtime = needs("onnxruntime")
    there = _there(runtime.get_available_providers(), providers)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = runtime.InferenceSession(str(path), options, providers=there)
    except Exception as error:  # its classes are those of a C++ library, without a common base
        raise CheckpointError(path, f"onnxruntime cannot read it ({error}).", "Export it again.") from error
    names = [output.name for output in session.get_outputs()]

    def run(image: Tensor) -> Outputs:
        answers = session.run(names, {INPUT: image.detach().float().cpu().numpy()})
        return {name: torch.from_numpy(answer) for name, answer in zip(names, answers, strict=True)}

    description = json.loads(session.get_modelmeta().custom_metadata_map[DESCRIPTION])
    return run, {**description, "providers": session.get_providers()}  # one that cannot start is left out


def _there(available: Sequence[str], providers: Sequence[str]) -> list[str]:
    """Return the execution providers that this installation of onnxruntime has."""
    there = [name for name in providers if name in available]
    if not there:
        found = f"{list(providers)} was found; this onnxruntime has {list(available)}."
        remedy = "Name one of these, or install onnxruntime-gpu in place of onnxruntime where there is an NVIDIA GPU."
        raise ConfigError("providers", found, remedy)
    if absent := [name for name in providers if name not in available]:
        _logger.warning("This onnxruntime lacks %s; %s is used.", ", ".join(absent), ", ".join(there))
    return there


def _open_axes(image: Tensor, description: Description) -> list[int]:
    only = description.get("image", {}).get("only_size")
    return [0] if only else [0, *range(2, image.ndim)]


def _named(image: Tensor, description: Description) -> dict[str, dict[int, Any]]:
    """Return the dynamic axes of batch and spatial sizes by name."""
    return {INPUT: {axis: AXES[axis] for axis in _open_axes(image, description)}}


def _dynamic(image: Tensor, description: Description) -> dict[str, dict[int, Any]]:
    """Return the dynamic shapes of batch and spatial sizes."""
    return {INPUT: dict.fromkeys(_open_axes(image, description), torch.export.Dim.DYNAMIC)}


def _without_gradient(module: Callable[[Tensor], Mapping[str, Tensor]]) -> Run:
    def run(image: Tensor) -> Outputs:
        with torch.no_grad():
            return dict(module(image))

    return run


def needs(package: str) -> Any:
    """Import a package of the extra ``export``, without onnxruntime's telemetry.

    Raises:
        ConfigError: it is not installed.
    """
    import importlib

    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime keeps a device's id and tells its maker
    try:
        return importlib.import_module(package)
    except ImportError as error:
        remedy = f"Run {install('export', 'onnx onnxruntime onnxscript')}."
        raise ConfigError("format onnx", f"the package {package} is not installed.", remedy) from error


class _Quiet:
    """Silence a logger's remarks about packages that are not needed."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)


FORMATS = {
    "torchscript": Format(".ts", _write_torchscript, _read_torchscript, check_script, traced=False),
    "onnx": Format(".onnx", _write_onnx, _read_onnx),
    "export": Format(".pt2", _write_exported_program, _read_exported_program, check_program),
}
