"""What this processor computes wrongly in bfloat16 is refused or computed in float32; what passes is right.

Which convolutions are wrong differs between processors, so nothing here says which: the laws hold on each. Faults for
the refusals are planted in the process that checks.
"""

import itertools
import json
import os
import subprocess
import sys

import pytest
import torch
from engine_kit import DOSE, GRADE, OAR, TASKS, SmallNetwork, make_loader, make_trainer
from torch import nn

from ctan_monai.engines.distributed.processes import to_channels_last
from ctan_monai.engines.loop import bf16_check
from ctan_monai.engines.loop.bf16_check import as_convolution, check
from ctan_monai.engines.loop.bf16_guard import Precision, _Listing, checking_bf16, convolutions_of, refuse_bf16
from ctan_monai.errors import ConfigError
from ctan_monai.networks import create_network

BF16 = Precision("cpu", torch.bfloat16)
STARTED = "import os, runpy, torch\nopen({log!r}, 'a').write('started ')\n"
PLANTED = {
    "wrong": "torch.conv2d = lambda image, *a, **k: real(image, *a, **k) * (2 if wrong(image, k) else 1)",
    "crash": "torch.conv2d = lambda image, *a, **k: os.abort() if wrong(image, k) else real(image, *a, **k)",
    "nan": "torch.conv2d = lambda image, *a, **k: real(image, *a, **k) * (float('nan') if wrong(image, k) else 1)",
}
WRONG = "real = torch.conv2d\ndef wrong(image, k): return k.get('stride') == [2, 2] and image.dtype == torch.bfloat16\n"


class Halved(SmallNetwork):
    """Looks at the image at half its size too."""

    def __init__(self):
        super().__init__()
        self.coarse = nn.Conv2d(1, 4, 3, stride=2, padding=1)

    def forward(self, image):
        features = self.coarse(image)
        self.coarse_dtype = features.dtype
        return {name: logits + features.mean() for name, logits in super().forward(image).items()}


@pytest.fixture
def plant(monkeypatch, tmp_path):
    """Return a function that plants a fault, of strided 2D convolutions in bfloat16, where convolutions are checked."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home" / "torch"))
    real = bf16_check._PROBE

    def act(fault):
        planted = STARTED.format(log=str(tmp_path / "log")) + (WRONG + PLANTED[fault] if fault else "")
        planted += f"\nrunpy.run_path({str(real)!r}, run_name='__main__')\n"
        (tmp_path / "probe.py").write_text(planted)
        monkeypatch.setattr(bf16_check, "_PROBE", tmp_path / "probe.py")
        return tmp_path / "log"

    return act


def conv(image, weight, trains=True, function=torch.conv2d, **options):
    image, weight = torch.empty(image), torch.empty(weight, requires_grad=trains)
    return as_convolution(function, (image, weight, None), options)


@pytest.mark.slow
def test_what_passes_has_the_output_and_the_gradient_of_float32():
    functions = {2: torch.conv2d, 3: torch.conv3d}
    grid = itertools.product((2, 3), (1, 3, 7), (1, 2, 3), (1, 2, 3, 5))
    calls = {}
    for dims, kernel, stride, last in grid:
        torch.manual_seed(0)
        image = torch.randn(2, 16, *[4] * (dims - 1), last).bfloat16().float()
        weight = torch.randn(32, 16, *[kernel] * dims).bfloat16().float().requires_grad_()
        args, options = (image, weight, None), {"stride": stride, "padding": kernel // 2}
        calls[as_convolution(functions[dims], args, options)] = (functions[dims], args, options)
    wrong = check(calls)
    assert len(wrong) < len(calls) / 2
    for convolution, (function, (image, weight, bias), options) in calls.items():
        if convolution in wrong:
            continue  # it may end this process
        output = function(image, weight, bias, **options)
        given = torch.randn_like(output).bfloat16()
        (expected,) = torch.autograd.grad(output, weight, given.float())
        for _ in range(3):
            reduced = weight.detach().bfloat16().requires_grad_()
            found = function(image.bfloat16(), reduced, bias, **options)
            (gradient,) = torch.autograd.grad(found, reduced, given)
            assert (found - output).norm() < 0.02 * output.norm(), str(convolution)
            assert (gradient - expected).norm() < 0.02 * expected.norm(), str(convolution)


def test_a_convolution_is_checked_once_on_a_machine(plant):
    log = plant(None)
    first, second = conv((9, 4, 8, 8), (8, 4, 3, 3), padding=1), conv((2, 4, 8, 8), (8, 4, 3, 3), padding=1)
    assert first == second  # two images stand for any number
    assert first != conv((2, 4, 8, 8), (8, 4, 3, 3), padding=1, trains=False)
    assert check([first]) == check([second, first]) == {}
    assert log.read_text() == "started "
    check([conv((2, 4, 8, 8), (8, 4, 1, 1))])
    assert log.read_text() == "started started "


@pytest.mark.parametrize(("fault", "reason"), [("wrong", "the output"), ("nan", "nan"), ("crash", "-6|SIGABRT|code")])
def test_what_is_wrong_or_ends_the_process_is_found_alone(plant, fault, reason):
    plant(fault)
    bad = conv((2, 4, 8, 8), (8, 4, 3, 3), stride=(2, 2))
    good = [conv((2, 4, size, 8), (8, 4, 3, 3)) for size in (5, 6, 7)]
    found = check([*good[:2], bad, good[2]])
    assert list(found) == [bad]
    assert any(word in found[bad] for word in reason.split("|"))
    assert check([*good, bad]) == found  # also from what was kept


def test_the_home_folder_need_not_be_writable(plant, tmp_path, caplog):
    plant("wrong")
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    bad = conv((2, 4, 8, 8), (8, 4, 3, 3), stride=(2, 2))
    assert list(check([bad], cache=blocked)) == [bad]
    assert "cannot be kept" in caplog.text


def test_a_damaged_record_is_made_again(plant, tmp_path):
    plant("wrong")
    bad = conv((2, 4, 8, 8), (8, 4, 3, 3), stride=(2, 2))
    check([bad], cache=tmp_path)
    (kept,) = tmp_path.glob("bf16-*.json")
    assert json.loads(kept.read_text())["made with"]["torch"] == torch.__version__
    for content in ("{", '{"wrong": 3}', '{"wrong": {"a": 1}}'):
        kept.write_text(content)
        assert list(check([bad], cache=tmp_path)) == [bad]


def test_a_training_is_refused_with_the_remedies_and_each_of_them_works(plant):
    plant("wrong")
    with pytest.raises(ConfigError, match=r"conv2d from 1 channels of 8x8 .*stride 2x2.*--amp False.*bf16_wrong"):
        make_trainer(Halved(), make_loader(2), amp=True).run()
    make_trainer(Halved(), make_loader(2)).run()
    network = Halved()
    make_trainer(network, make_loader(2), amp=True, bf16_wrong="float32").run()
    assert network.coarse_dtype is torch.float32
    make_trainer(SmallNetwork(), make_loader(2), amp=True).run()
    with pytest.raises(ConfigError, match=r"'bfloat16' is unknown"):
        make_trainer(network, make_loader(2), bf16_wrong="bfloat16").run()


def test_in_float32_where_it_is_wrong_the_gradient_is_that_of_float32(plant):
    plant("wrong")
    torch.manual_seed(0)
    layer, image = nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.randn(2, 3, 9, 9)
    layer(image).square().sum().backward()
    expected, layer.weight.grad = layer.weight.grad, None
    with checking_bf16(layer, BF16, "float32"), BF16.autocast():
        layer(image).square().sum().backward()
    assert torch.equal(layer.weight.grad, expected)


def test_an_evaluation_and_an_export_are_refused_for_a_wrong_output(plant):
    plant("wrong")
    network = Halved().eval()
    with checking_bf16(network, BF16), torch.no_grad():
        for _ in range(2):  # a refusal is not forgotten
            with pytest.raises(ConfigError, match="the output"):
                network(torch.zeros(1, 1, 8, 8))
    with torch.no_grad(), pytest.raises(ConfigError, match="bfloat16"):
        refuse_bf16(network, [torch.zeros(1, 1, 8, 8)])


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("method", ["ctan", "hps", "mtan", "stl"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_list_is_that_of_a_real_pass_and_the_network_stays_as_it_was(method, spatial_dims, channels_last):
    network = create_network(method, [OAR, DOSE, GRADE], encoder="resnet18", spatial_dims=spatial_dims)
    if channels_last:
        to_channels_last(network)
    image = torch.randn(2, 1, *[33, 40, 36][:spatial_dims])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    listed = convolutions_of(network, image)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with BF16.autocast(), _Listing() as real:
        network(image)
    assert listed == real.found
    assert any(convolution.backward for convolution in listed)


def test_a_network_whose_way_depends_on_values_is_refused():
    class Choosing(nn.Module):
        def forward(self, image):
            return image if image.mean().item() > 0 else -image

    with checking_bf16(network := Choosing(), BF16), pytest.raises(ConfigError, match=r"asks for values.*--amp False"):
        network(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("precision", [Precision("cpu", None), Precision("cuda", torch.bfloat16)])
def test_nothing_else_is_watched_and_nothing_stays(precision, plant):
    log = plant("crash")
    network = Halved()
    with checking_bf16(network, precision):
        assert network(torch.zeros(2, 1, 8, 8)).keys() == {task.name for task in TASKS}
    assert not log.exists()
    with checking_bf16(network, BF16):
        assert network._forward_pre_hooks
    assert not network._forward_pre_hooks


def test_the_process_that_checks_needs_torch_alone():
    others = [name for name in os.listdir(bf16_check._PROBE.parent) if name != "__pycache__"]
    assert len(others) > 10  # modules of this package, which must not be found instead of a library's
    program = "import sys, runpy; runpy.run_path(sys.argv[1]); assert 'monai' not in sys.modules"
    subprocess.run([sys.executable, "-c", program, str(bf16_check._PROBE)], check=True)
