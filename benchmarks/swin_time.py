"""Time of SwinV2-B, forward and backward: ours against transformers' eager Swinv2 with the same weights.

    PYTHONPATH=tests/helpers:tests/networks python benchmarks/swin_time.py [--rounds 8] [--batch 2] [--threads 1]

transformers is not among this package's dependencies: where it cannot be imported, ours is timed alone. Rounds are
interleaved and each takes the networks in the other order; the value is the smallest processor time divided by the
number of threads, with wall time beside it. Outputs and gradients are compared before the timing.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Mapping

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=8)
parser.add_argument("--batch", type=int, default=2)
parser.add_argument("--pixels", type=int, default=256)
parser.add_argument("--window", type=int, default=8)
parser.add_argument("--size", default="base", help="base, small or tiny")
parser.add_argument("--threads", type=int, default=1)
options = parser.parse_args()
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch loads: waiting threads must not count as work

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from ctan_monai.networks.swin_v2 import SIZES, SwinV2Encoder  # noqa: E402

try:
    from record_swin import translate
    from transformers import Swinv2Config, Swinv2Model
except ImportError as error:
    print(f"without transformers' Swinv2: {error}")
    Swinv2Model = None


def build() -> dict[str, nn.Module]:
    """Make ours, with weights that are not those of the start, and theirs with the same ones."""
    torch.manual_seed(0)
    ours = SwinV2Encoder(options.size, 3, (options.pixels, options.pixels), options.window)
    with torch.no_grad():
        for value in ours.parameters():
            value.add_(0.02 * torch.randn_like(value))
        for name, value in ours.named_parameters():  # residual branches that add nothing would hide differences
            if name.endswith("norm1.weight") or name.endswith("norm2.weight"):
                value.fill_(0.2)
    if Swinv2Model is None:
        return {"ours": ours}
    size = SIZES[options.size]
    shape = {"embed_dim": size.width, "depths": list(size.depths), "num_heads": list(size.heads)}
    rest = {"window_size": options.window, "drop_path_rate": 0.0}
    config = Swinv2Config(image_size=options.pixels, attn_implementation="eager", **shape, **rest)
    theirs = Swinv2Model(config, add_pooling_layer=False)
    missing, unexpected = theirs.load_state_dict(translate(ours.state_dict()), strict=False)
    assert not unexpected, unexpected
    assert all("relative" in name for name in missing), missing
    return {"ours": ours, "transformers": theirs}


def deepest(network: nn.Module, image: Tensor) -> Tensor:
    """Return the features of the last stage as tokens, (B, N, C)."""
    if isinstance(network, SwinV2Encoder):
        return network(image).p[3].flatten(2).transpose(1, 2)
    found: Tensor = network(image).last_hidden_state
    return found


def agree(networks: Mapping[str, nn.Module], image: Tensor) -> None:
    """Print how far outputs and gradients by the image are from each other, relative to the largest."""
    answers = {}
    for name, network in networks.items():
        network.eval()
        leaf = image.clone().requires_grad_()
        answer = deepest(network, leaf)
        answer.square().mean().backward()
        answers[name] = (answer.detach(), leaf.grad)
    for what, ours, theirs in zip(("outputs", "gradients"), *answers.values(), strict=True):
        print(f"{what} differ by {((ours - theirs).abs().max() / theirs.abs().max()).item():.1e} of the largest")


def measure(work: Callable[[], object]) -> tuple[float, float]:
    """Return processor seconds for each thread, and wall seconds."""
    wall, busy = time.perf_counter(), time.process_time()
    work()
    return (time.process_time() - busy) / options.threads, time.perf_counter() - wall


def main() -> None:
    """Measure and print the table."""
    torch.set_num_threads(options.threads)
    networks = build()
    image = torch.randn(options.batch, 3, options.pixels, options.pixels)
    if len(networks) > 1:
        agree(networks, image)
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}

    def infer(network: nn.Module) -> None:
        with torch.inference_mode():
            deepest(network, image)

    def step(network: nn.Module) -> None:
        network.zero_grad(set_to_none=True)
        deepest(network, image).square().mean().backward()

    for turn in range(options.rounds + 1):
        for name in sorted(networks, reverse=bool(turn % 2)):
            for what, work in (("step", step), ("infer", infer)):
                networks[name].train(what == "step")
                found = measure(lambda work=work, name=name: work(networks[name]))
                if turn:  # the first round warms up
                    times.setdefault((name, what), []).append(found)
    print(f"torch {torch.__version__}, {options.threads} threads, {platform.machine()}, {os.cpu_count()} cores")
    print(f"SwinV2 {options.size}, batch {options.batch}, 3x{options.pixels}x{options.pixels}, window {options.window}")
    print(f"{'network':14}{'step s':>8}{'wall s':>8}{'infer s':>9}{'wall s':>8}{'step/ours':>11}{'infer/ours':>12}")
    best = {key: (min(a for a, _ in found), min(b for _, b in found)) for key, found in times.items()}
    for name in networks:
        (busy, wall), (quick, quick_wall) = best[name, "step"], best[name, "infer"]
        ratios = busy / best["ours", "step"][0], quick / best["ours", "infer"][0]
        print(f"{name:14}{busy:8.3f}{wall:8.3f}{quick:9.3f}{quick_wall:8.3f}{ratios[0]:11.2f}{ratios[1]:12.2f}")


if __name__ == "__main__":
    main()
