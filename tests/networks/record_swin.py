"""Record what transformers' Swin Transformer V2 answers with our weights: an implementation that is not ours.

PYTHONPATH=tests/helpers python tests/networks/record_swin.py    (needs transformers; written with 5.24.0)
"""

import json

import torch
from network_cases import fill_deterministically, wave
from test_swin_v2 import CASES, GOLDEN, sample
from transformers import Swinv2Config, Swinv2Model

from ctan_monai.networks.swin_v2 import SIZES, SwinV2Encoder

NAMES = {
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "patch_embed.norm": "embeddings.norm",
    "attn.logit_scale": "attention.self.logit_scale",
    "attn.cpb_mlp": "attention.self.continuous_position_bias_mlp",
    "attn.proj": "attention.output.dense",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def translate(state):
    """Rename the weights to those of transformers; queries, keys and values are layers of their own there."""
    found = {}
    for key, value in state.items():
        prefix = "encoder." if key.startswith("layers.") else ""
        name = prefix + key
        if key.startswith("norm."):
            name = "layernorm" + key.removeprefix("norm")
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        block = name.split("attn.")[0] + "attention.self."
        if key.endswith("qkv.weight"):
            for part, weight in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[f"{block}{part}.weight"] = weight
        elif key.endswith("q_bias"):
            found[f"{block}query.bias"] = value
        elif key.endswith("v_bias"):
            found[f"{block}value.bias"] = value
        else:
            found[name] = value
    return found


def main():
    """Write golden_swin.json."""
    recorded = {}
    for pixels, window in CASES:
        ours = SwinV2Encoder("tiny", 3, (pixels, pixels), window).eval()
        fill_deterministically(ours.double())
        size = SIZES["tiny"]
        config = Swinv2Config(
            image_size=pixels,
            embed_dim=size.width,
            depths=list(size.depths),
            num_heads=list(size.heads),
            window_size=window,
        )
        theirs = Swinv2Model(config, add_pooling_layer=False).double().eval()
        missing, unexpected = theirs.load_state_dict(translate(ours.state_dict()), strict=False)
        assert not unexpected, unexpected
        assert all("relative" in name for name in missing), missing
        image = wave(1, 3, pixels, pixels).double()
        with torch.no_grad():
            tokens, side = theirs.embeddings(image)[0], (pixels // 4, pixels // 4)
            stages = []
            for layer in theirs.encoder.layers:
                for block in layer.blocks:
                    tokens = block(tokens, side)[0]
                last = layer.downsample is None
                kept = theirs.layernorm(tokens) if last else tokens
                stages.append(kept.transpose(1, 2).reshape(1, -1, *side).contiguous())
                if not last:
                    tokens, side = layer.downsample(tokens, side), (side[0] // 2, side[1] // 2)
        recorded[f"{pixels}, window {window}"] = sample(stages)
        with torch.no_grad():
            difference = max((a - b).abs().max().item() for a, b in zip(ours(image).p, stages, strict=True))
        assert difference < 1e-9, (pixels, window, difference)
    GOLDEN.write_text(json.dumps(recorded) + "\n")


if __name__ == "__main__":
    main()
