import pytest
import torch

from ctan_monai.engines.loop.bf16_guard import choose_precision
from ctan_monai.errors import ConfigError


@pytest.mark.parametrize("amp", [False, "false"])
def test_without_amp_a_convolution_stays_in_float32(amp):
    with choose_precision("cpu", amp).autocast():
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(1, 2)).dtype is torch.float32


@pytest.mark.parametrize("amp_dtype", ["auto", "bf16"])
def test_amp_on_the_cpu_is_bfloat16_without_gradient_scaling(amp_dtype):
    precision = choose_precision("cpu", "true", amp_dtype)
    with precision.autocast():
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(1, 2)).dtype is torch.bfloat16
    assert precision.scaler() is None


def test_float16_is_for_cuda_only():
    assert choose_precision("cuda", True, "fp16").dtype is torch.float16
    with pytest.raises(ConfigError, match="bf16"):
        choose_precision("cpu", True, "fp16")


def test_without_amp_the_dtype_does_not_matter_so_that_one_config_runs_everywhere():
    assert choose_precision("cpu", False, "fp16").dtype is None


def test_an_unknown_dtype_is_an_error():
    with pytest.raises(ConfigError, match="amp_dtype"):
        choose_precision("cpu", True, "float16")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_float16_on_cuda_scales_gradients():
    assert choose_precision("cuda:0", True, "fp16").scaler().is_enabled()
    assert choose_precision("cuda:0", True, "bf16").scaler() is None
