"""Static int8 quantization of networks to ONNX."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ctan_monai.share.formats import DESCRIPTION, FORMATS, INPUT, Description, needs

_LAYERS = ("Conv", "Gemm", "MatMul")


def write_int8(network: nn.Module, image: Tensor, path: Path, description: Description, seen: Sequence[Tensor]) -> None:
    """Quantize weights (per channel, signed) and activations (unsigned, calibrated on images) with onnxruntime.

    What stays in 32 bits is what `kept_layers` names. Of the images, the file holds nothing but those ranges.

    Args:
        network: in evaluation mode, on the CPU.
        image: (B, C, *S), an example whose batch and size the file does not fix.
        path: written.
        description: of the network, for the file.
        seen: images (1, C, *S) to find the ranges with.

    Raises:
        ConfigError: a package is missing.
    """
    onnx, quantization = needs("onnx"), _quantization()
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("whole", "prepared", "quantized"))
        FORMATS["onnx"].write(network, image, whole, description)
        quantization.quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
        regressions = [task["name"] for task in description["tasks"] if task["kind"] == "Regression"]
        quantization.quantize_static(
            str(prepared),
            str(quantized),
            _reader(quantization, seen),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            nodes_to_exclude=sorted(kept_layers(onnx.load(str(prepared)).graph, regressions)),
        )
        model = onnx.load(str(quantized))
    onnx.helper.set_model_props(model, {DESCRIPTION: json.dumps(description)})
    onnx.save(model, str(path))


def kept_layers(graph: Any, regressions: Iterable[str]) -> set[str]:
    """Return the nodes of an ONNX graph that stay in 32 bits.

    These are the layers that read the image, the last layer of each task, and all that serves regressions alone: in
    8 bits, a dose was off by 0.5 to 0.8 Gy in the mean over all voxels, with this by 0.02 Gy (ADR 23).

    Args:
        graph: a GraphProto; the outputs have the names of the tasks.
        regressions: names of tasks.
    """
    makers = {name: node for node in graph.node for name in node.output}
    behind = {output.name: {node.name for node in _before(output.name, makers)} for output in graph.output}
    kept = {node.name for node in graph.node if node.op_type in _LAYERS and INPUT in node.input}
    last = [node for output in graph.output for node in _before(output.name, makers, until=_LAYERS)]
    kept |= {node.name for node in last if node.op_type in _LAYERS}
    wanted = set(regressions)
    for_others = set().union(*(behind[name] for name in behind if name not in wanted))
    for name in wanted & set(behind):
        kept |= behind[name] - for_others
    return kept


def _before(output: str, makers: dict[str, Any], until: Collection[str] = ()) -> list[Any]:
    """Return the nodes that an output depends on, back to the first of some types on each path."""
    found: dict[str, Any] = {}
    names = [output]
    while names:
        node = makers.get(names.pop())
        if node is not None and node.name not in found:
            found[node.name] = node
            names += [] if node.op_type in until else node.input
    return list(found.values())


def _quantization() -> Any:
    needs("onnxruntime")
    return needs("onnxruntime.quantization")


def _reader(quantization: Any, images: Sequence[Tensor]) -> Any:
    """Create onnxruntime's calibration reader of images."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._left, None)
            return None if image is None else {INPUT: image.numpy()}

    return Reader()
