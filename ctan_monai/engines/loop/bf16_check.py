"""Check convolutions in bfloat16 on this processor, once each, in a subprocess."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctan_monai.engines.runs.versions import describe_processor
from ctan_monai.errors import CheckpointError
from ctan_monai.files.json_files import read_json, write_json

_logger = logging.getLogger(__name__)
_PROBE = Path(__file__).with_name("bf16_probe.py")
_RUN = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"  # no folder is put on sys.path
_TIMEOUT_S = 600.0
_CRASHED = "the process that tried it ended with {}"
# glibc fills new memory with the complement of this byte, so a kernel that reads what it never wrote meets 1.3e7
_FILL = {"MALLOC_PERTURB_": "180"}

_FUNCTIONS: dict[Callable[..., Tensor], tuple[str, ...]] = {
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), ("stride", "padding", "dilation", "groups")),
    **dict.fromkeys(
        (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
        ("stride", "padding", "output_padding", "groups", "dilation"),
    ),
}


@dataclass(frozen=True)
class Convolution:
    """The arguments of a convolution on which, besides the processor, its correctness in bfloat16 depends.

    Args:
        function: its name in torch, for example 'conv3d' or 'conv_transpose2d'.
        image: (B, C, *S), with at most two images: verdicts did not depend on B (1, 2 and 8 tried).
        weight: its shape.
        bias: its length, 0 for none.
        options: stride, padding, dilation, groups, output_padding as they were given.
        channels_last: memory format of image and weight.
        backward: its gradients are wanted too.
    """

    function: str
    image: tuple[int, ...]
    weight: tuple[int, ...]
    bias: int
    options: tuple[tuple[str, Any], ...]
    channels_last: tuple[bool, bool]
    backward: bool

    @property
    def fields(self) -> dict[str, Any]:
        """Fields as `bf16_probe` reads them."""
        return {**asdict(self), "options": dict(self.options)}

    @property
    def key(self) -> str:
        """Unique text of the arguments."""
        return json.dumps(self.fields, sort_keys=True)

    def __str__(self) -> str:
        """Describe the convolution for a message."""
        kernel, size = self.weight[2:], self.image[2:]
        return (
            f"{self.function} from {self.image[1]} channels of {_text(size)} (weight {_text(self.weight)}, kernel "
            f"{_text(kernel)}, stride {_text(dict(self.options).get('stride', 1))})"
        )


def as_convolution(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Convolution | None:
    """Return the `Convolution` of a call of torch's convolution functions; None for any other function."""
    if function not in _FUNCTIONS:
        return None
    names = ("input", "weight", "bias", *_FUNCTIONS[function])
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    image, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
    trains = torch.is_grad_enabled() and any(
        value.requires_grad for value in (image, weight, bias) if value is not None
    )
    return Convolution(
        function.__name__,
        (min(image.shape[0], 2), *image.shape[1:]),
        tuple(weight.shape),
        0 if bias is None else bias.shape[0],
        tuple(sorted((name, _plain(value)) for name, value in given.items())),
        (_is_channels_last(image), _is_channels_last(weight)),
        trains,
    )


def check(convolutions: Iterable[Convolution], cache: str | Path | None = None) -> dict[Convolution, str]:
    """Compare convolutions in bfloat16 with float32 on this processor, with as many threads as torch has here.

    What was found is kept, by processor, torch, oneDNN and number of threads, and never done again.

    Args:
        convolutions: to check; the same one may come twice.
        cache: folder of what was found before; None: beside torch.hub's, in the user's cache folder.

    Returns:
        What is wrong with each of them; nothing for those that are right.
    """
    wanted = list(dict.fromkeys(convolutions))
    file = _cache_file(Path(torch.hub.get_dir()).with_name("ctan_monai") if cache is None else Path(cache))
    known = _read(file)
    unknown = [each for each in wanted if each.key not in known]
    if unknown:
        _logger.info("Checking %d convolutions in bfloat16 on this processor, once ...", len(unknown))
        found = dict(zip((each.key for each in unknown), _try(unknown), strict=True))
        known |= found
        try:
            write_json({"made with": _machine(), "wrong": {**_read(file), **found}}, file)
        except CheckpointError as error:  # no home, or one that may not be written: it costs seconds at each start
            _logger.warning("What was found about bfloat16 cannot be kept: %s", error)
    return {each: known[each.key] for each in wanted if known[each.key]}


def _try(convolutions: list[Convolution]) -> list[str]:
    """Check in one process; if it crashes, in one for each, since memory may have been corrupted before.

    On Linux it does not crash: the process forks for each convolution itself (`bf16_probe`).
    """
    found, ending = _run(convolutions)
    if not ending:
        return found
    if len(convolutions) == 1:
        return [_CRASHED.format(ending)]
    alone = [_try([each])[0] for each in convolutions]
    if not any(alone) and len(found) < len(convolutions):  # it takes what came before
        alone[len(found)] = _CRASHED.format(ending)
    return alone


def _run(convolutions: list[Convolution]) -> tuple[list[str], str]:
    """Return the process's output, and how it failed if it did."""
    command = [sys.executable, "-c", _RUN, str(_PROBE), str(torch.get_num_threads())]
    given = json.dumps([each.fields for each in convolutions])
    process = subprocess.Popen(  # noqa: S603  # this Python, with a program of ours
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **_FILL},
    )
    try:
        printed, errors = process.communicate(given, _TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, errors = process.communicate()
        return _lines(printed), f"no answer within {_TIMEOUT_S:.0f} s"
    if process.returncode == 0:
        return _lines(printed), ""
    last = (errors.strip().splitlines() or ["no message"])[-1]
    return _lines(printed), f"code {process.returncode} ({last})"


def _lines(printed: str) -> list[str]:
    return [json.loads(line) for line in printed.splitlines() if line.endswith('"')]


def _machine() -> dict[str, str]:
    return {**describe_processor(), "torch": str(torch.__version__), "threads": str(torch.get_num_threads())}


def _cache_file(folder: Path) -> Path:
    content = _PROBE.read_text(encoding="utf-8") + json.dumps(_machine(), sort_keys=True)
    return folder / f"bf16-{hashlib.sha256(content.encode()).hexdigest()[:16]}.json"


def _read(file: Path) -> dict[str, str]:
    kept = (read_json(file) or {}).get("wrong")
    return {key: value for key, value in kept.items() if isinstance(value, str)} if isinstance(kept, dict) else {}


def _is_channels_last(value: Tensor) -> bool:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if value.ndim not in formats or value.is_contiguous():
        return False
    return value.is_contiguous(memory_format=formats[value.ndim])


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple, torch.Size)) else value


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
