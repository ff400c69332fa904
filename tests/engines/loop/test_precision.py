import pytest
import torch

from ctan_monai.engines.loop import bf16_guard
from ctan_monai.engines.loop.bf16_guard import choose_precision
from ctan_monai.engines.runs import versions
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


@pytest.mark.parametrize(
    ("features", "slow"),
    [
        ("avx2", True),
        ("avx2 avx512_f avx512_vnni", True),
        ("avx2 avx512_f avx512_bf16", False),
        ("avx2 avx512_f amx_tile amx_bf16", False),
        ("DEFAULT", False),  # not an x86, or a PyTorch that does not tell
    ],
)
def test_a_processor_that_is_slower_in_bfloat16_is_said_once(features, slow, monkeypatch, caplog):
    found = {**versions.describe_processor(), "cpu": "Such-and-such", "cpu_features": features}
    monkeypatch.setattr(versions, "describe_processor", lambda: found)
    monkeypatch.setattr(bf16_guard, "describe_processor", lambda: found)
    bf16_guard._warn_of_slow_bf16.cache_clear()
    choose_precision("cpu", False)
    choose_precision("cuda", True, "bf16")
    assert not caplog.messages
    for _ in range(2):
        choose_precision("cpu", True)
    said = [message for message in caplog.messages if "(Such-and-such) has no instructions for bfloat16" in message]
    assert len(said) == slow


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_float16_on_cuda_scales_gradients():
    assert choose_precision("cuda:0", True, "fp16").scaler().is_enabled()
    assert choose_precision("cuda:0", True, "bf16").scaler() is None
