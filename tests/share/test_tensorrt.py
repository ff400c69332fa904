"""The overlay that predicts by TensorRT: all of it but the engine, for which onnxruntime stands in without a GPU."""

import importlib.util
import json
import os
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks import trt_compiler
from network_cases import TASKS, wave
from pack_kit import HAM10000, ROOT, run_config

from ctan_monai.engines.runs.run_record import write_run
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.errors import CheckpointError, ConfigError, find_ctan_error
from ctan_monai.share import TensorRTNetwork
from ctan_monai.share import tensorrt as module

SIZES, BATCHES = [[64, 64], [80, 96], [128, 160]], [1, 2, 4]
USABLE = torch.cuda.is_available() and importlib.util.find_spec("tensorrt") is not None
SETTINGS = {
    "image_size": [48, 64],
    "slice_mm": 3.0,
    "spatial_dims": 2,
    "depth": 32,
    "pooling": "mean",
    "top_share": 0.5,
}


class StandIn:
    """An engine whose plan is the ONNX file; like TensorRT's, it writes every answer where it wrote the last."""

    built = 0
    factor = 1.0

    def __init__(self, path, logger):
        with open(path, "rb") as file:  # a missing plan raises, as for TensorRT
            self._session = onnxruntime.InferenceSession(file.read(), providers=["CPUExecutionProvider"])
        self.input_names = [entry.name for entry in self._session.get_inputs()]
        self.output_names = [entry.name for entry in self._session.get_outputs()]
        self.tensors = {}

    def set_inputs(self, feed, stream):
        self._feed = {name: feed[name].numpy() for name in self.input_names}

    def allocate_buffers(self, device):
        pass

    def infer(self, stream, use_cuda_graph):
        for name, answer in zip(self.output_names, self._session.run(self.output_names, self._feed), strict=True):
            found = torch.from_numpy(answer) * self.factor
            before = self.tensors.get(name)
            if before is not None and before.shape == found.shape:
                before.copy_(found)
            else:
                self.tensors[name] = found
        return self.tensors


def plan_of(compiler, path):
    """Build what stands for an engine: the ONNX file that MONAI wrote for TensorRT, weights and all."""
    StandIn.built += 1
    return onnx.load(path).SerializeToString()


class Stream:
    cuda_stream = 0

    def __init__(self, device=None):
        pass

    def wait_stream(self, other):
        pass


class Cuda:
    """What TrtCompiler asks of torch.cuda."""

    Stream = current_stream = Stream

    @staticmethod
    def is_available():
        return True

    @staticmethod
    def current_device():
        return "cpu"

    @staticmethod
    def empty_cache():
        pass


class TorchWithCuda:
    """Torch, as TrtCompiler sees it."""

    cuda = Cuda

    def __getattr__(self, name):
        return getattr(torch, name)


@pytest.fixture(scope="module")
def convert_once():
    """Return MONAI's conversion to ONNX, which takes most of the time, for a network that is the same in each test."""
    made = {}

    def convert(model, inputs, filename, **arguments):
        if not made:
            trt_compiler_convert(model, inputs, filename=filename, **arguments)
            made[filename] = onnx.load(filename).SerializeToString()
        Path(filename).write_bytes(*made.values())

    trt_compiler_convert = trt_compiler.convert_to_onnx
    return convert


@pytest.fixture
def stand_in(monkeypatch, convert_once):
    """Let MONAI's own TrtCompiler run on the CPU, but for building and running an engine."""
    monkeypatch.setattr(trt_compiler, "convert_to_onnx", convert_once)
    monkeypatch.setattr(module, "check_machine", lambda: None)
    for name in ("trt_imported", "polygraphy_imported"):
        monkeypatch.setattr(trt_compiler, name, True)
    monkeypatch.setattr(trt_compiler, "TRTEngine", StandIn)
    monkeypatch.setattr(trt_compiler.TrtCompiler, "_onnx_to_trt", plan_of)
    monkeypatch.setattr(trt_compiler, "torch", TorchWithCuda())
    monkeypatch.setattr(StandIn, "built", 0)
    return StandIn


@pytest.fixture
def own_run(trained, tmp_path):
    """Return the folder of a run that a test may write into."""
    write_run(trained, tmp_path)
    save_atomic(trained.state_dict(), tmp_path / "model.pt")
    return tmp_path


@pytest.mark.slow
def test_an_engine_made_by_monai_answers_as_the_network_for_all_sizes(own_run, trained, stand_in):
    network = TensorRTNetwork(own_run, TASKS, SIZES, BATCHES)
    for shape in [(1, 1, 64, 64), (2, 1, 80, 96), (4, 1, 128, 160), (3, 1, 97, 131)]:
        with torch.no_grad():
            expected = trained(wave(*shape))
        answer = network(wave(*shape))
        assert list(answer) == ["oar", "dose", "grade"]
        for task, logits in expected.items():
            torch.testing.assert_close(answer[task], logits, rtol=1e-4, atol=1e-4)
    (plan,) = (own_run / "tensorrt").iterdir()
    graph = onnx.load(str(plan)).graph
    assert [entry.name for entry in graph.input] == ["image"]
    assert [entry.name for entry in graph.output] == ["oar", "dose", "grade"]
    assert stand_in.built == 1


@pytest.mark.slow
def test_an_answer_stays_when_the_next_is_computed(own_run, stand_in):
    network = TensorRTNetwork(own_run, TASKS, SIZES, BATCHES)
    first = network(wave(1, 1, 64, 64))
    kept = {name: logits.clone() for name, logits in first.items()}
    network(2 * wave(1, 1, 64, 64))
    for name, logits in first.items():
        assert torch.equal(logits, kept[name])


@pytest.mark.slow
def test_an_engine_is_built_once_and_again_for_other_weights_sizes_or_numbers(own_run, stand_in):
    def ask(**changed):
        TensorRTNetwork(own_run, TASKS, **{"sizes": SIZES, "batches": BATCHES, **changed})(wave(1, 1, 64, 64))
        return stand_in.built

    assert [ask(), ask()] == [1, 1]
    assert ask(precision="bf16") == 2
    assert ask(batches=[1, 2, 3]) == 3
    later = (own_run / "model.pt").stat().st_mtime + 60
    os.utime(own_run / "model.pt", (later, later))
    assert ask() == 4


@pytest.mark.slow
def test_an_engine_that_answers_otherwise_is_not_used(own_run, stand_in, monkeypatch):
    monkeypatch.setattr(stand_in, "factor", 1.06)
    network = TensorRTNetwork(own_run, TASKS, SIZES, BATCHES)
    with pytest.raises(CheckpointError, match=r"relative error \{'oar': 0\.06.*allowed 0\.05.*--trt_precision fp32"):
        network(wave(1, 1, 64, 64))


@pytest.mark.parametrize("shape", [(5, 1, 64, 64), (1, 1, 63, 64), (1, 1, 64, 161), (1, 2, 64, 64), (1, 1, 64)])
def test_images_that_it_was_not_built_for_are_refused(own_run, stand_in, shape):
    with pytest.raises(ConfigError, match=r"the engine is for \(1, 1, 64, 64\) to \(4, 1, 128, 160\).*--trt_sizes"):
        TensorRTNetwork(own_run, TASKS, SIZES, BATCHES)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sizes": SIZES[:2]}, "three sizes of 2 numbers"),
        ({"sizes": [[64], [80], [96]]}, "three sizes of 2 numbers"),
        ({"sizes": SIZES[::-1]}, "not in order"),
        ({"batches": [0, 1, 2]}, "not in order"),
        ({"precision": "int8"}, "Use one of"),
        ({"tasks": TASKS[:1]}, "Use the config of the bundle"),
    ],
)
def test_settings_that_do_not_fit_are_refused(own_run, stand_in, changed, message):
    with pytest.raises(ConfigError, match=message):
        TensorRTNetwork(**{"run_dir": own_run, "tasks": TASKS, "sizes": SIZES, "batches": BATCHES, **changed})


@pytest.mark.skipif(USABLE, reason="TensorRT is here")
def test_a_bundle_says_at_once_what_tensorrt_lacks(small_run, tmp_path):
    options = {"run_dir": str(small_run), "cache_dir": str(tmp_path), "output_dir": str(tmp_path / "found")}
    with pytest.raises((ConfigError, RuntimeError)) as caught:
        run_config(HAM10000, "inference.yaml", "inference_trt.yaml", run_id="inferring", kind="infer", **options)
    message = str(find_ctan_error(caught.value))
    missing = [name for name in module.PACKAGES if importlib.util.find_spec(name) is None]
    assert missing or not torch.cuda.is_available()
    assert all(f"the package {name}" in message for name in missing)
    assert ("an NVIDIA GPU" in message) == (not torch.cuda.is_available())
    assert "Remedy: Leave inference_trt.yaml out" in message
    assert not (tmp_path / "found").exists()


@pytest.mark.parametrize(("found", "refused"), [("10.16.1", False), ("11.4.0", True), ("9.3.0", True)])
def test_only_versions_that_monai_can_build_with_are_taken(monkeypatch, found, refused):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(module, "_version", lambda: found)
    if not refused:
        module.check_machine()
        return
    with pytest.raises(ConfigError, match=rf"missing: TensorRT 10 \(found {found}\)\.") as caught:
        module.check_machine()
    assert "pip install 'tensorrt>=10.3,<11' polygraphy cuda-python" in str(caught.value)


@pytest.mark.parametrize("bundle", ["ham10000", "openkbp", "prostate", "stoic"])
def test_the_overlay_of_each_bundle_builds_for_its_images(bundle, tmp_path, stand_in):
    configs = ROOT / "bundles" / bundle / "configs"
    run, plain, parser = tmp_path / "run", ConfigParser(), ConfigParser()
    options = {"bundle_root": str(configs.parent), "encoder": "resnet18", "run_dir": str(run), "device": "cpu"}
    run.mkdir()
    (run / "settings.json").write_text(json.dumps(SETTINGS))
    plain.read_config(str(configs / "inference.yaml"))
    parser.read_config([str(configs / "inference.yaml"), str(configs / "inference_trt.yaml")])
    for name, value in options.items():
        plain[name], parser[name] = value, value
    network = plain.get_parsed_content("network_def")
    write_run(network, run)
    save_atomic(network.state_dict(), run / "model.pt")
    found = parser.get_parsed_content("network")
    assert isinstance(found, TensorRTNetwork)
    assert found.tasks == network.tasks
    low, usual, high = found.profile
    assert low[1] == network.settings["in_channels"]
    if bundle in ("ham10000", "stoic"):
        assert low[2:] == usual[2:] == high[2:] == (48, 64)
    else:
        assert low[2:] == (32, 32)
        assert usual[2:] < high[2:]
    assert parser.get_parsed_content("amp") is False
    assert parser["initialize#1"] == "$@network"  # so that what is missing is said before anything is read


@pytest.mark.gpu
@pytest.mark.parametrize("precision", module.TOLERANCES)
def test_tensorrt_itself_answers_as_the_network(own_run, trained, precision):
    for package in module.PACKAGES:
        pytest.importorskip(package, reason=f"needs the package {package}")
    network = TensorRTNetwork(own_run, TASKS, SIZES, BATCHES, precision).cuda()
    for shape in [(1, 1, 64, 64), (2, 1, 80, 96), (4, 1, 128, 160), (3, 1, 97, 131)]:
        with torch.no_grad():
            expected = trained(wave(*shape))
        answer = network(wave(*shape).cuda())
        for task, logits in expected.items():
            assert answer[task].device.type == "cuda"
            error = float((answer[task].cpu() - logits).norm() / logits.norm())
            assert error <= module.TOLERANCES[precision], (task, shape)
