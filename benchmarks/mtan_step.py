"""Promise: MTAN's encoder and attention give what LibMTL's give with the same weights, in at most 0.9 of its time.

    OMP_NUM_THREADS=1 python benchmarks/mtan_step.py --libmtl LibMTL [--rounds 8] [--batch 8] [--size 128]

``--libmtl`` is a clone of github.com/median-research-group/LibMTL (MIT license). Compared are the parts that both have:
a ResNet-50 that is not dilated and the attention of two tasks, without decoders; a step is forward, backward of
the outputs' mean squares, and Adam. *Equal blocks* is this package's ``mtan``, whose weights are copied from LibMTL's
before anything is timed; *lighter blocks* is its ``pool: bottleneck`` (the blocks of CTAN). Ours lie channels last in
memory, as the bundles' trainers have it, LibMTL's as it makes them. Rounds take turns; values are the smallest CPU
seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from ctan_monai.networks import create_network
from ctan_monai.tasks import Regression, Segmentation

TASKS = (Segmentation("oar", ["a", "b"]), Regression("dose", "Gy", 70.0))
EQUAL, LIGHTER, PEER = "equal blocks", "lighter blocks", "LibMTL"


class OurPath(nn.Module):
    """Encoder and attention of a network without its decoders."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        settings = {"encoder_options": {"split": "one"}, "network_options": {"mtan": options}}
        made = create_network("mtan", TASKS, "resnet50", in_channels=3, **settings)
        self.encoder, self.attention = made.encoder, made.attention

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return each task's deepest features."""
        found: list[Tensor] = self.attention(self.encoder(image))
        return found


def peer_path(clone: Path) -> nn.Module:
    """Build LibMTL's encoder with attention, from its files alone: its packages' __init__ need torchvision."""
    for name in ("LibMTL", "LibMTL.architecture", "LibMTL.model"):
        package = ModuleType(name)
        package.__path__ = [str(clone / name.replace(".", "/"))]
        sys.modules[name] = package
    from LibMTL.architecture.MTAN import _transform_resnet_MTAN
    from LibMTL.model.resnet import Bottleneck, ResNet

    made: nn.Module = _transform_resnet_MTAN(ResNet(Bottleneck, [3, 4, 6, 3]), [task.name for task in TASKS], "cpu")
    return made


def copy_weights(peer: nn.Module, ours: nn.Module) -> None:
    """Copy LibMTL's weights. The biases in front of a batch norm, which ours lacks, go into its running mean."""
    state, copied = peer.state_dict(), {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "shared_conv":
            copied[".".join(["encoder.stem", *parts[1:]])] = value
        elif parts[0] == "shared_layer":
            stage, place, *rest = parts[1:]
            last = str((3, 4, 6, 3)[int(stage)] - 1)
            copied[".".join(["encoder.stages", stage, *(["first"] if place == "0" else ["last", last]), *rest])] = value
        elif parts[0] == "encoder_att":
            stage, task, layer, name = parts[1:]
            if name == "bias" and layer in "03":
                continue
            if name == "running_mean":
                value = value - state[".".join([*parts[:3], str(int(layer) - 1), "bias"])]
            place = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1"}[layer]
            copied[f"attention.stages.{stage}.masks.{TASKS[int(task)].name}.{place}.{name}"] = value
        else:
            copied[".".join(["attention.stages", parts[1], "pool.0.0", *parts[2:]])] = value
    ours.load_state_dict(copied, strict=True)


def differences(peer: nn.Module, ours: nn.Module, image: Tensor) -> tuple[float, float]:
    """Return the largest differences of outputs relative to the largest output, in training and in inference."""
    found = []
    for mode in (True, False):
        peer.train(mode)
        ours.train(mode)
        with torch.no_grad():
            pairs = list(zip(peer(image), ours(image), strict=True))
        found.append(max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs))
    return found[0], found[1]


def timed(networks: dict[str, nn.Module], image: Tensor, rounds: int) -> dict[tuple[str, str], float]:
    """Return the smallest CPU seconds of a training step and of inference by network."""
    optimizers = {name: torch.optim.Adam(network.parameters(), lr=1e-4) for name, network in networks.items()}

    def step(name: str) -> None:
        optimizers[name].zero_grad(set_to_none=True)
        torch.stack([value.square().mean() for value in networks[name](inputs[name])]).sum().backward()
        optimizers[name].step()

    def infer(name: str) -> None:
        with torch.inference_mode():
            networks[name](inputs[name])

    layout = {name: torch.contiguous_format if name == PEER else torch.channels_last for name in networks}
    inputs = {name: image.contiguous(memory_format=layout[name]) for name in networks}
    works: dict[str, Callable[[str], None]] = {"step": step, "infer": infer}
    found: dict[tuple[str, str], float] = {}
    for turn in range(rounds + 1):
        for name, network in networks.items():
            network.to(memory_format=layout[name])
            for kind, work in works.items():
                network.train(kind == "step")
                start = time.process_time()
                work(name)
                seconds = time.process_time() - start
                if turn:  # the first round warms up
                    found[name, kind] = min(seconds, found.get((name, kind), seconds))
    return found


def main() -> None:
    """Compare outputs, then time, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--libmtl", type=Path, help="clone of LibMTL; without it only this package is timed")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    image = torch.randn(options.batch, 3, options.size, options.size)
    networks: dict[str, nn.Module] = {EQUAL: OurPath(), LIGHTER: OurPath(pool="bottleneck", expansion=4)}
    print(f"torch {torch.__version__}, 1 thread, batch {options.batch}, 3x{options.size}x{options.size}, ", end="")
    print(f"{options.rounds} rounds, smallest CPU s")
    if options.libmtl:
        networks[PEER] = peer_path(options.libmtl)
        copy_weights(networks[PEER], networks[EQUAL])
        trained, inferred = differences(networks[PEER], networks[EQUAL], image)
        print(f"largest relative difference of outputs: {trained:.1e} in training, {inferred:.1e} in inference")
    found = timed(networks, image, options.rounds)
    reference = PEER if options.libmtl else EQUAL
    print(f"{'':16}{'params M':>9}{'step':>8}{'infer':>8}{'step / ' + reference:>22}{'infer / ' + reference:>22}")
    for name, network in networks.items():
        millions = sum(value.numel() for value in network.parameters()) / 1e6
        ratios = [found[name, kind] / found[reference, kind] for kind in ("step", "infer")]
        print(f"{name:16}{millions:9.2f}{found[name, 'step']:8.3f}{found[name, 'infer']:8.3f}", end="")
        print(f"{ratios[0]:22.2f}{ratios[1]:22.2f}")


if __name__ == "__main__":
    main()
