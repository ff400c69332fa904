"""Swin Transformer V2 against transformers' implementation, and against attention token by token."""

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from network_cases import fill_deterministically, wave
from torch.nn import functional as F

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.networks.swin_blocks import SwinBlock
from ctan_monai.networks.swin_v2 import SwinStage, SwinV2Encoder
from ctan_monai.networks.weights import load_swin_weights

GOLDEN = Path(__file__).with_name("golden_swin.json")  # made by record_swin.py
CASES = [(256, 8), (256, 16), (192, 12)]  # rows and columns of the image, window: as the published networks


def sample(features):
    """Take some fifty values of each stage, spread over channels and places."""
    return [stage.flatten()[:: max(stage.numel() // 50, 1) | 1].double().tolist() for stage in features]


@pytest.mark.parametrize(("pixels", "window"), CASES)
def test_all_stages_equal_those_of_transformers_with_the_same_weights(pixels, window):
    encoder = SwinV2Encoder("tiny", 3, (pixels, pixels), window).eval().double()
    fill_deterministically(encoder)
    with torch.no_grad():
        found = sample(encoder(wave(1, 3, pixels, pixels).double()).p)
    recorded = json.loads(GOLDEN.read_text())[f"{pixels}, window {window}"]
    for ours, theirs in zip(found, recorded, strict=True):
        assert len(ours) > 40
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


def attend_token_by_token(block: SwinBlock, x: torch.Tensor) -> torch.Tensor:
    """Let each token see those of its window, found by its place alone; nothing is padded, rolled or masked."""
    attention = block.attn
    bias = torch.cat([attention.q_bias, torch.zeros_like(attention.v_bias), attention.v_bias])
    query, key, value = F.linear(x, attention.qkv.weight, bias).chunk(3, dim=-1)
    width = x.shape[-1] // attention.heads
    out = torch.zeros_like(x)
    places = [(row, column) for row in range(x.shape[1]) for column in range(x.shape[2])]

    def window_of(place):
        return tuple((at - shift) // size for at, shift, size in zip(place, block.shift, block.window, strict=True))

    for here in places:
        seen = [there for there in places if window_of(there) == window_of(here)]
        offsets = torch.tensor([[a - b for a, b in zip(here, there, strict=True)] for there in seen], dtype=x.dtype)
        offsets = 8 * offsets / (torch.tensor(block.window) - 1)
        offsets = offsets.sign() * (offsets.abs() + 1).log2() / math.log2(8)
        added = 16 * torch.sigmoid(attention.cpb_mlp(offsets))  # (seen, heads)
        rows, columns = [row for row, _ in seen], [column for _, column in seen]
        for head in range(attention.heads):
            part = slice(head * width, (head + 1) * width)
            cosine = F.cosine_similarity(query[0, here[0], here[1], part], key[0, rows, columns, part], dim=-1)
            scale = attention.logit_scale[head, 0, 0].clamp(max=math.log(100)).exp()
            weights = torch.softmax(cosine * scale + added[:, head], dim=0)
            out[0, here[0], here[1], part] = weights @ value[0, rows, columns, part]
    return attention.proj(out)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (3, 10), (5, 4)])
@pytest.mark.parametrize("resolution", [(8, 8), (4, 16)])
def test_padded_and_shifted_windows_equal_attention_token_by_token(size, resolution):
    torch.manual_seed(0)
    stage = SwinStage(8, 2, 2, resolution, 4, False, [0.0, 0.0], last=True).double().eval()
    for norm in (stage.blocks[0].norm1, stage.blocks[1].norm1, stage.blocks[0].norm2, stage.blocks[1].norm2):
        torch.nn.init.ones_(norm.weight)
    x = torch.randn(1, *size, 8, dtype=torch.float64)
    expected = x
    with torch.no_grad():
        for block in stage.blocks:
            expected = expected + block.norm1(attend_token_by_token(block, expected))
            expected = expected + block.norm2(block.mlp(expected))
        found, _ = stage(x)
    assert torch.allclose(found, expected, atol=1e-6)  # the table of coordinates has single precision


def test_a_window_that_covers_the_image_is_as_large_as_it_and_is_not_shifted():
    encoder = SwinV2Encoder("tiny", 1, (128, 192), 8)
    assert [stage.window for stage in encoder.layers] == [(8, 8), (8, 8), (8, 8), (4, 6)]
    assert [stage.shift for stage in encoder.layers] == [(4, 4), (4, 4), (0, 4), (0, 0)]


def test_the_position_bias_is_kept_until_its_weights_change_and_has_a_gradient_in_training():
    attention = SwinV2Encoder("tiny", 1, (64, 64), 4).eval().layers[0].blocks[0].attn
    tokens = torch.randn(1, 4, 16, 32)
    with torch.no_grad():
        first = attention(tokens, None)
        kept = attention._kept_bias()
        assert attention._kept_bias() is kept
        assert torch.equal(attention(tokens, None), first)
        attention.cpb_mlp[2].weight.add_(1.0)
        assert not torch.equal(attention(tokens, None), first)
    attention.train()(tokens, None).sum().backward()
    assert attention.cpb_mlp[0].weight.grad.abs().sum() > 0


def test_swin_v2_b_has_the_published_number_of_parameters():
    encoder = SwinV2Encoder("base", 3)
    head = 1024 * 1000 + 1000
    count = sum(value.numel() for value in encoder.parameters()) + head
    assert count / 1e6 == pytest.approx(87.9, abs=0.05)  # Liu et al. 2022, table 8: 88 M; the model zoo's 87.9 M


def test_a_scripted_encoder_answers_alike_at_any_size():
    encoder = SwinV2Encoder("tiny", 1, (64, 64), 4).eval()
    scripted = torch.jit.script(encoder)
    for size in [(64, 64), (70, 33), (128, 96)]:
        image = wave(2, 1, *size)
        with torch.no_grad():
            for ours, theirs in zip(encoder(image).p, scripted(image).p, strict=True):
                assert torch.equal(ours, theirs)


def published(encoder, naming):
    """Rename an encoder's weights to those of a published file, with what such files hold beside them."""
    state = {key: value.clone() for key, value in encoder.state_dict().items()}
    state |= {"head.weight": torch.zeros(10, 256), "layers.0.blocks.0.attn.relative_coords_table": torch.zeros(1)}
    if naming == "microsoft":
        return {"model": state}
    merging = {f"layers.{stage}.downsample": f"layers.{stage + 1}.downsample" for stage in range(3)}
    return {merging.get(key[:19], key[:19]) + key[19:]: value for key, value in state.items()}


@pytest.mark.parametrize("naming", ["microsoft", "timm"])
def test_published_checkpoints_are_read_with_their_names(tmp_path, naming, caplog):
    torch.manual_seed(1)
    donor = SwinV2Encoder("tiny", 3, (64, 64), 4)
    file = tmp_path / "swin.pth"
    torch.save(published(donor, naming), file)
    named = tmp_path / f"swin-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"
    file.rename(named)
    color, gray = SwinV2Encoder("tiny", 3, (64, 64), 8), SwinV2Encoder("tiny", 1, (64, 64), 4)
    with caplog.at_level("INFO"):
        load_swin_weights(color, str(named))
    load_swin_weights(gray, str(named))
    assert "unused: head.weight" in caplog.text
    assert "relative_coords_table" not in caplog.text
    assert all(torch.equal(value, donor.state_dict()[key]) for key, value in color.state_dict().items())
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip(gray.eval()(image).p, donor.eval()(image.expand(1, 3, 64, 64)).p, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_file_of_another_network_is_refused_by_the_first_tensor_that_differs(tmp_path):
    torch.save(SwinV2Encoder("small", 3).state_dict(), tmp_path / "small.pth")
    encoder = SwinV2Encoder("tiny", 3)
    with pytest.raises(DataError, match=r"patch_embed.proj.weight is \(48, 3, 4, 4\), expected \(32, 3, 4, 4\)"):
        load_swin_weights(encoder, str(tmp_path / "small.pth"))
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other-00000000.pth")
    with pytest.raises(DataError, match="SHA-256 00000000"):
        load_swin_weights(encoder, str(tmp_path / "other-00000000.pth"))


@pytest.mark.parametrize(("options", "named"), [({"size": "huge"}, "huge"), ({"window": 1}, "window")])
def test_unknown_options_are_named(options, named):
    with pytest.raises(ConfigError, match=named):
        SwinV2Encoder(**options)
