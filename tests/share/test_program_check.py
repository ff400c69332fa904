"""A file that would run code when it is opened is refused before that, and the code did not run."""

import io
import json
import os
import pickle
import zipfile

import pytest
import torch

from ctan_monai.errors import CheckpointError
from ctan_monai.share.formats import FORMATS, read_exported

WEIGHTS, CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"
MODEL, SAMPLE = "models/model.json", "data/sample_inputs/model.pt"


class Small(torch.nn.Module):
    """One convolution, with a size in its graph."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"oar": self.head(image).reshape(image.shape[0], 2, image.shape[2] * image.shape[3])}


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it_ran"


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The members of an honest torch.export file."""
    path = tmp_path_factory.mktemp("honest") / "model.pt2"
    FORMATS["export"].write(Small().eval(), torch.randn(2, 1, 70, 66), path, {"tasks": []})
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write(path, members, more=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in [*members.items(), *more]:
            archive.writestr(f"model/{name}", content)
    return path


def saved(value):
    found = io.BytesIO()
    torch.save(value, found)
    return found.getvalue()


def changed(members, name, change):
    content = json.loads(members[name])
    change(content)
    return {**members, name: json.dumps(content).encode()}


def refused(path, marker, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        read_exported(path)
    assert not marker.exists()
    return caught.value


def test_an_honest_file_is_read_and_computes(members, tmp_path):
    run, description = read_exported(write(tmp_path / "model.pt2", members))
    assert description == {"tasks": []}
    assert run(torch.zeros(1, 1, 70, 80))["oar"].shape == (1, 2, 70 * 80)


def as_sample(members, marker):
    return {**members, SAMPLE: saved(((Touch(marker),), {}))}


def as_bare_pickle(members, marker):
    return {**members, SAMPLE: pickle.dumps(((Touch(marker),), {}), protocol=2)}


def as_weight(members, marker):
    found = {**members, "data/weights/weight_0": saved(Touch(marker))}
    return changed(found, WEIGHTS, lambda each: next(iter(each["config"].values())).update(use_pickle=True))


def as_legacy_weights(members, marker):
    return {**members, "data/weights/model.pt": saved({"head.weight": Touch(marker)})}


def as_legacy_constants(members, marker):
    return {**members, "data/constants/model.pt": saved({"x": Touch(marker)})}


def as_constant(members, marker, name="tensor_0"):
    found = {**members, f"data/constants/{name}": saved(Touch(marker))}
    entry = {"path_name": name, "is_param": False, "use_pickle": True, "tensor_meta": None}
    return changed(found, CONSTANTS, lambda each: each["config"].update(x=entry))


def as_opaque_object(members, marker):
    found = as_constant(members, marker, "opaque_obj_0")
    return {**found, "data/constants/opaque_obj_0": pickle.dumps(Touch(marker))}


def as_compiled_code(members, marker):
    return {**members, "data/aotinductor/model/run.so": b"\x7fELF"}


def as_size(members, marker):
    def change(model):
        text = json.dumps(model)
        start = text.index('"expr_str": "') + len('"expr_str": "')
        end = text.index('"', start)
        new = f"__import__('os').mkdir('{marker}')"
        model.update(json.loads(text[:start] + new + text[end:]))

    return changed(members, MODEL, change)


def as_guard(members, marker):
    return changed(
        members, MODEL, lambda model: model["guards_code"].append(f"__import__('os').mkdir({str(marker)!r})")
    )


def as_operator(members, marker, target="torch.os.mkdir"):
    def change(model):
        node = model["graph_module"]["graph"]["nodes"][0]
        node["target"] = target
        node["inputs"] = [{"name": "path", "arg": {"as_string": str(marker)}, "kind": 1}]

    return changed(members, MODEL, change)


def as_file_operator(members, marker):
    return as_operator(members, marker, "torch.ops.aten.from_file.default")


def as_tree(members, marker):
    def change(model):
        spec = [1, {"type": "collections.defaultdict", "context": "null", "children_spec": []}]
        model["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = json.dumps(spec)

    return changed(members, MODEL, change)


def as_name(members, marker):
    def change(model):
        text = json.dumps(model).replace('"sym_size_int', f"\"x=__import__('os').mkdir('{marker}');")
        model.update(json.loads(text))

    return changed(members, MODEL, change)


HOSTILE = [
    (as_sample, "sample_inputs/model.pt is a pickle of more than tensors"),
    (as_bare_pickle, "sample_inputs/model.pt is a pickle of more than tensors"),
    (as_weight, "calls 'head.weight' a pickle"),
    (as_legacy_weights, "it holds 'data/weights/model.pt', a pickle"),
    (as_legacy_constants, "it holds 'data/constants/model.pt', a pickle"),
    (as_constant, "calls 'x' a pickle"),
    (as_opaque_object, "it holds 'data/constants/opaque_obj_0', a pickle"),
    (as_compiled_code, "it holds 'data/aotinductor/model/run.so', which no export needs"),
    (as_size, "expr_str, which could run code"),
    (as_guard, "guards_code, which could run code"),
    (as_operator, "'torch.os.mkdir' as inputs.target|target, which could run code"),
    (as_file_operator, "from_file.default' as .*target, which could run code"),
    (as_tree, "in_spec, which could run code"),
    (as_name, "which could run code"),
]


@pytest.mark.parametrize(("make", "words"), HOSTILE, ids=[make.__name__ for make, _ in HOSTILE])
def test_what_could_run_code_is_refused_with_its_member_named(members, tmp_path, marker, make, words):
    path = write(tmp_path / "model.pt2", make(members, marker))
    error = refused(path, marker, words)
    assert "--trust True" in error.remedy
    assert str(path) in str(error)


@pytest.mark.parametrize("make", [as_weight, as_constant, as_opaque_object, as_size, as_sample])
def test_these_files_do_run_code_when_they_are_trusted(members, tmp_path, marker, make):
    """Without this, the refusals above could be of files that do nothing."""
    path = write(tmp_path / "model.pt2", make(members, marker))
    with pytest.raises(CheckpointError, match="no network that was exported"):
        read_exported(path, trust=True)
    assert marker.exists()


def test_a_member_that_is_there_twice_is_refused(members, tmp_path, marker):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = write(tmp_path / "model.pt2", members, [(SAMPLE, saved(((Touch(marker),), {})))])
    refused(path, marker, "not the same for every reader")
    upper = write(tmp_path / "upper.pt2", members, [("data/sample_inputs/MODEL.pt", saved(Touch(marker)))])
    refused(upper, marker, "it holds 'data/sample_inputs/MODEL.pt', a pickle")


def test_the_older_format_is_refused(tmp_path, marker):
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.8")
        archive.writestr("serialized_exported_program.json", "{}")
        for name in ("state_dict", "constants", "example_inputs"):
            archive.writestr(f"serialized_{name}.pt", saved({"x": Touch(marker)}))
    refused(path, marker, "no network that was exported|it holds|not the same")


def test_a_pickle_that_calls_itself_torchscript_or_onnx_is_not_unpickled(tmp_path, marker):
    for name, content in (("a.ts", saved(Touch(marker))), ("b.ts", pickle.dumps(Touch(marker))), ("c.onnx", b"")):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, marker, "Export it again")


def test_torchscript_that_writes_files_is_refused(tmp_path, marker):
    class Writer(torch.nn.Module):
        def __init__(self, place: str):
            super().__init__()
            self.place = place

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"oar": torch.from_file(self.place, shared=True, size=4)}

    path = tmp_path / "model.ts"
    extra = {"ctan_monai.json": "{}"}
    torch.jit.save(torch.jit.script(Writer(str(marker))), str(path), _extra_files=extra)
    refused(path, marker, "calls torch.from_file, which reads or writes files")
    run, _ = read_exported(path, trust=True)
    run(torch.zeros(1))
    assert marker.exists()
