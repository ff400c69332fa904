"""What checking a network's convolutions in bfloat16 costs at the first start of a training and at later ones.

    OMP_NUM_THREADS=1 python benchmarks/bf16_check.py

Each bundle's own network, images of the size that it takes from real data, forward and backward.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from ctan_monai.engines.distributed.processes import to_channels_last
from ctan_monai.engines.loop.bf16_check import check
from ctan_monai.engines.loop.bf16_guard import convolutions_of
from ctan_monai.engines.runs.versions import describe_processor

BUNDLES = Path(__file__).parents[1] / "bundles"
SHAPES = {  # (B, C, *S)
    "openkbp": [(8, 1, 128, 128)],
    "prostate": [(32, 1, 128, 128)],
    "ham10000": [(8, 3, 192, 256)],
    "busi": [(4, 3, 256, 256)],
    "stoic": [(8, 1, 160, 224), (2, 1, 160, 224, 32)],
}


def main() -> None:
    """Print a line for each bundle and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="ctan")
    parser.add_argument("--bundles", default=",".join(SHAPES))
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {describe_processor()}")
    print(f"{'bundle':10} {'image':>18} convolutions different  list s first s later s  wrong")
    with tempfile.TemporaryDirectory() as cache:
        for bundle in options.bundles.split(","):
            for shape in SHAPES[bundle]:
                _measure(bundle, options.method, shape, cache)


def _measure(bundle: str, method: str, shape: tuple[int, ...], cache: str) -> None:
    config = ConfigParser()
    config.read_config(BUNDLES / bundle / "configs" / "train.yaml")
    config.update({"bundle_root": str(BUNDLES / bundle), "method": method})
    if bundle == "stoic":
        config["spatial_dims"] = len(shape) - 2
    network = config.get_parsed_content("network_def")
    to_channels_last(network)
    begun = time.perf_counter()
    found = convolutions_of(network, torch.zeros(shape))
    listed = time.perf_counter()
    wrong = check(found, cache)
    first = time.perf_counter()
    check(found, cache)
    later = time.perf_counter()
    print(
        f"{bundle:10} {'x'.join(map(str, shape)):>18} {len(found):12} {len(set(found)):9} {listed - begun:7.2f} "
        f"{first - listed:7.2f} {later - first:7.2f}  {len(wrong)}"
    )
    for convolution, what in wrong.items():
        print(f"  {convolution}: {what}")


if __name__ == "__main__":
    main()
