"""What the deepest path brings to each decoder of an untrained network: the query's share of the logits' variance.

    python benchmarks/decoder_share.py [--seeds 5] [--encoder resnet50] [--bundles openkbp,prostate,ham10000,stoic,busi]
        [--joins wide,project] [--options JSON]

The share is the variance of the change when the query comes from another image, divided by twice the variance of the
logits (`ctan_monai.metrics.variance_share`), over 32 slices of the real patients of the OpenKBP sample, in training
mode (batch statistics, as running ones mean nothing before training). Networks are those that the bundles' configs
build, with their own decoder options and U^4 as a skip; where a bundle wants three channels, the CT is repeated. For
each decoder: mean over the seeds, and the smallest.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor

from ctan_monai.metrics.variance_share import variance_share
from ctan_monai.networks import MultiTaskNetwork, create_network, methods
from ctan_monai.networks.registry import own_backbone
from ctan_monai.networks.sites import recording, replacing

ROOT, IMAGES = Path(__file__).parents[1], 32


def parser_of(bundle: str, options: Mapping[str, Any]) -> ConfigParser:
    """Read a bundle's train.yaml with some entries replaced."""
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundles" / bundle / "configs" / "train.yaml"))
    parser.update({"bundle_root": str(ROOT / "bundles" / bundle), **options})
    return parser


def images() -> Tensor:
    """Return slices of the sample's training patients, windowed as the bundle does: (32, 1, 128, 128)."""
    with tempfile.TemporaryDirectory() as cache:
        parser = parser_of("openkbp", {"cache_dir": cache})
        items, load = (
            parser.get_parsed_content("datalists")["train"],
            parser.get_parsed_content("validate#preprocessing"),
        )
        chosen = [items[index * len(items) // IMAGES] for index in range(IMAGES)]
        return torch.stack([load(item)["image"].as_tensor() for item in chosen])


def shares(network: MultiTaskNetwork, batch: Tensor) -> dict[str, float]:
    """Return each task's share of its query."""
    alone = getattr(network, "branches", {"": network})  # stl: a network for each task
    found: dict[str, float] = {}
    for part_of in alone.values():
        sites = [site for part in part_of.parts() if part.kind == "query" for site in part.sites]
        with torch.no_grad(), recording(part_of, sites) as queries:
            own = part_of(batch)
        with torch.no_grad(), replacing(part_of, {site: query.roll(1, 0) for site, query in queries.items()}):
            other = part_of(batch)
        found |= {name: variance_share(other[name] - own[name], own[name]) for name in own}
    return found


def main() -> None:
    """Measure and print a line for each bundle, method and join."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--bundles", default="openkbp,prostate,ham10000,stoic,busi")
    parser.add_argument("--joins", default="wide,project")
    parser.add_argument("--options", type=json.loads, default={}, help="further decoder options, as JSON")
    options = parser.parse_args()
    gray = images()
    print(
        f"torch {torch.__version__}, {options.encoder}, {IMAGES} slices, {options.seeds} seeds, {options.options or ''}"
    )
    for bundle in options.bundles.split(","):
        config = parser_of(bundle, {"encoder": options.encoder})
        tasks = config.get_parsed_content("tasks")
        channels = len(config.get_parsed_content("image_channels"))
        own = dict(config.get_parsed_content("network_def#decoder_options"))
        for join in options.joins.split(","):
            for method in (name for name in methods() if own_backbone(name) is None):
                found: dict[str, list[float]] = {}
                for seed in range(options.seeds):
                    torch.manual_seed(seed)
                    decoders = {**own, **options.options, "join": join}
                    network = create_network(
                        method, tasks, options.encoder, in_channels=channels, decoder_options=decoders
                    )
                    for name, share in shares(network.train(), gray.repeat(1, channels, 1, 1)).items():
                        found.setdefault(name, []).append(share)
                texts = [f"{name} {sum(all_) / len(all_):.3f} ({min(all_):.3f})" for name, all_ in found.items()]
                print(f"{bundle:10}{join:9}{method:6}" + "  ".join(texts), flush=True)


if __name__ == "__main__":
    main()
