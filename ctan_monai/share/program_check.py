"""Safety checks of torch.export and TorchScript files before loading, which can execute code.

`torch.export.load` (torch 2.13) unpickles the sample inputs, weights and constants that say so, and custom objects, all
with ``weights_only=False`` at last; loads compiled libraries; evaluates the texts of sizes (sympy) and of guards
(Python), and looks up operators by their dotted names. Here, each of these is held against what an export of a network
needs. What passes computes on tensors, and does nothing else.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ctan_monai.errors import CheckpointError

_MODEL, _SAMPLE = "models/model.json", "data/sample_inputs/model.pt"
_PAYLOADS = {"weights": "weight", "constants": "tensor"}  # folder of the archive: how its members are called
_CONFIGS = {f"data/{folder}/model_{folder}_config.json": start for folder, start in _PAYLOADS.items()}
_MEMBERS = {"archive_format", "archive_version", "byteorder", "version", ".data/version", ".data/serialization_id"}
_MEMBERS |= {_MODEL, _SAMPLE, *_CONFIGS}
_NUMBERED = re.compile(r"data/(weights/weight|constants/tensor)_\d+|extra/[A-Za-z0-9_-]+(\.(json|txt))?")
_REMEDY = (
    "Export the network again from its run. Where you would run any program of whoever made the file, open it with "
    "--trust True."
)

_PLAIN = re.compile(r"[A-Za-z0-9_.+:-]{0,512}")  # names of nodes, weights, types, devices, versions
_WORDS = {"none", "tanh", "mean", "sum", "floor", "trunc", "constant", "reflect", "replicate", "circular", "zeros"}
_WORDS |= {"border", "reflection", "valid", "same", "linear", "bilinear", "trilinear", "nearest", "bicubic", "area"}
_FILE_CALLS = re.compile(rb"\b(?:torch|ops\.\w+)\.(?:from_file|save|load)\b")
_ATEN = re.compile(r"torch\.ops\.aten\.(?!(?:from_file|save|load)\.)_?[A-Za-z]\w*\.[A-Za-z]\w*")  # those touch files
_OPERATOR = re.compile(
    r"_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|getitem)"
    r"|torch\.(_sym|sym)_[a-z_]+|math\.[a-z]\w*"
)
_TREES = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
_NUMBER_OR_NAME = re.compile(r"[A-Za-z_]\w*|[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_SIZES = frozenset(  # what sympy and torch.utils._sympy call the parts of a size
    re.findall(
        r"\w+",
        "Symbol Integer Float Rational Add Mul Pow Max Min Mod PythonMod FloorDiv ModularIndexing Where "
        "CleanDiv CeilToInt FloorToInt CeilDiv LShift RShift PowByNatural FloatPow FloatTrueDiv IntTrueDiv "
        "TruncToInt TruncToFloat RoundToInt RoundDecimal ToFloat Identity Eq Ne Lt Le Gt Ge Equality "
        "Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan And Or Not floor ceiling",
    )
)
_ARITHMETIC = (
    *(ast.Expression, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator),
    *(ast.unaryop, ast.boolop, ast.cmpop, ast.Name, ast.Call, ast.keyword),
)


def check_program(path: Path) -> None:
    """Refuse a torch.export file that holds anything but tensors, and a graph of operators on them.

    Args:
        path: the file.

    Raises:
        CheckpointError: it holds another pickle than its sample inputs, these hold more than tensors and plain values,
            or it holds code; the message names the member.
        RuntimeError, OSError, ValueError: it is no archive, or damaged.
    """
    reader = torch._C.PyTorchFileReader(str(path))  # as torch.export reads it
    names = list(reader.get_all_records())
    _check_names(path, names)
    for config, start in _CONFIGS.items():
        _check_payloads(path, config, json.loads(reader.get_record(config)), start)
    _check_sample(path, reader.get_record(_SAMPLE))
    for what, text in _strings(json.loads(reader.get_record(_MODEL)), ()):
        if not _is_harmless(what, text):
            raise _refused(path, f"{_MODEL} has {text[:80]!r} as {'.'.join(what[-2:])}, which could run code")


def check_script(path: Path) -> None:
    """Refuse a TorchScript file whose code reads or writes files.

    TorchScript has a reader of its own, which makes nothing but tensors, plain values and its own modules, and its
    language reaches nothing but operators; still, the file is a program, which can compute for ever.

    Raises:
        CheckpointError: it does; the message names the member.
        RuntimeError: it is no archive, or damaged.
    """
    reader = torch._C.PyTorchFileReader(str(path))
    for name in reader.get_all_records():
        if name.endswith(".py") and (found := _FILE_CALLS.search(reader.get_record(name))):
            raise _refused(path, f"{name[:80]} calls {found[0].decode()}, which reads or writes files")


def _refused(path: Path, found: str) -> CheckpointError:
    return CheckpointError(path, f"{found}; it is not opened.", _REMEDY)


def _check_names(path: Path, names: list[str]) -> None:
    """Check that the archive has the members of an export, each once."""
    for name in names:
        if name not in _MEMBERS and not _NUMBERED.fullmatch(name):
            pickled = Path(name).suffix in (".pt", ".pth", ".pkl", ".ckpt") or "_obj_" in name
            raise _refused(path, f"it holds {name[:80]!r}, {'a pickle' if pickled else 'which no export needs'}")
    with zipfile.ZipFile(path) as archive:  # torch.export falls back on this reader, and on other members
        roots = Counter(name.partition("/")[0] for name in archive.namelist())
        others = Counter(name.partition("/")[2] for name in archive.namelist())
    repeated = [name for name, count in Counter(name.lower() for name in names).items() if count > 1]
    if repeated or len(roots) != 1 or others != Counter(names):
        raise _refused(path, f"its members {repeated[:3] or sorted(roots)[:3]} are not the same for every reader")
    if missing := sorted({_MODEL, _SAMPLE, *_CONFIGS, "archive_format"} - set(names)):
        raise _refused(path, f"it has no {missing[0]}, so it is no export of this version of torch")


def _check_payloads(path: Path, config: str, content: Any, start: str) -> None:
    for name, entry in content["config"].items():
        if entry["use_pickle"] is not False:
            raise _refused(path, f"{config} calls {name[:80]!r} a pickle")
        if not re.fullmatch(rf"{start}_\d+", entry["path_name"]):
            raise _refused(path, f"{config} looks for {name[:80]!r} in {entry['path_name'][:80]!r}")


def _check_sample(path: Path, content: bytes) -> None:
    try:
        if content:
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile pickle can make the reader raise anything
        raise _refused(path, f"{_SAMPLE} is a pickle of more than tensors and plain values") from error


def _strings(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text of a JSON value, keys among them, with the keys that lead to it."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield (*place, "key"), key
            yield from _strings(entry, (*place, key))
    elif isinstance(value, list):
        for entry in value:
            yield from _strings(entry, place)
    elif isinstance(value, str):
        yield place, value


def _is_harmless(place: tuple[str, ...], text: str) -> bool:
    last = place[-1] if place else ""
    if last == "expr_str":
        return _is_expression(text, _SIZES)
    if last == "guards_code":
        return _is_expression(text, frozenset(), guard=True)
    if last == "target" or last == "as_operator":
        return bool(_ATEN.fullmatch(text) or _OPERATOR.fullmatch(text))
    if last in ("in_spec", "out_spec"):
        return _is_tree(text)
    if last in ("as_string", "as_strings"):
        return text in _WORDS
    if "metadata" in place[:-1] and last != "key":
        return text.isprintable()  # shown in messages; a line of its own could end a comment
    return _PLAIN.fullmatch(text) is not None


def _is_tree(text: str) -> bool:
    """Tell whether a pytree consists of tuples, lists and dictionaries."""
    try:
        content = json.loads(text)
        contexts = [json.loads(text) for what, text in _strings(content, ()) if what[-1] == "context"]
    except (ValueError, RecursionError):
        return False
    kinds = [text for what, text in _strings(content, ()) if what[-1] == "type"]
    keys = [key for context in contexts for key in (context if isinstance(context, list) else [context])]
    return set(kinds) <= _TREES and all(key is None or (isinstance(key, str) and _PLAIN.fullmatch(key)) for key in keys)


def _is_expression(text: str, functions: frozenset[str], guard: bool = False) -> bool:
    """Tell whether a text is arithmetic and comparisons on sizes.

    Args:
        text: of a size, or of a guard.
        functions: that it may call.
        guard: it may ask for an input's size, as ``L['image'].size()[2]``.
    """
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_arithmetic(node, functions) or (guard and _is_size(node)) for node in nodes)


def _is_arithmetic(node: ast.AST, functions: frozenset[str]) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in functions
    if isinstance(node, ast.Name):
        return node.id in functions or re.fullmatch(r"[a-zL]+\d*|int_oo", node.id) is not None
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) or _NUMBER_OR_NAME.fullmatch(str(node.value)) is not None
    return isinstance(node, _ARITHMETIC)


def _is_size(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and not node.args and not node.keywords
    if isinstance(node, ast.Attribute):
        return node.attr == "size" and isinstance(node.value, ast.Subscript)
    return isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
