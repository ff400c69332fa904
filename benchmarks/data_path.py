"""Samples per second of the training's data path alone: loaders, samples on the device, MONAI's cache, Pillow.

    python benchmarks/data_path.py [--bundles ham10000,openkbp] [--dataset_dir DIR] [--samples 96] [--rounds 5]

No network is called. "loader" and "device" are the bundle's own train#dataloader with --data_on; "MONAI" is its
CacheDataset, the reading cached, with MONAI's random transforms of the same ranges and probabilities; "Pillow" is
torch's DataLoader over a dataset that decodes, resizes and augments by Pillow, as torchvision does. Images of HAM10000
get the bundle's color jitter in MONAI's pipeline too, which has none, and ImageEnhance's in Pillow's. Rounds are
interleaved; the values are medians of processor time, on a GPU of wall time. What is read or cached once is not
counted: a first pass comes before.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--bundles", default="ham10000,openkbp")
parser.add_argument("--dataset_dir", default=None, help="of HAM10000; synthetic images else")
parser.add_argument("--samples", type=int, default=96)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--image_size", type=int, nargs=2, default=[192, 256])
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--device", default="cpu")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from monai.bundle import ConfigParser  # noqa: E402
from monai.data import CacheDataset, DataLoader  # noqa: E402
from monai.transforms import Compose, RandAffined, RandFlipd, ScaleIntensityRanged  # noqa: E402
from PIL import Image, ImageEnhance  # noqa: E402

from ctan_monai.data.datasets.ham10000.reader import find_ham10000  # noqa: E402
from ctan_monai.transforms import spatial_modes  # noqa: E402

ROOT = Path(__file__).parents[1]
PROB = 0.5  # as the bundles' --augment
ON_GPU = options.device.startswith("cuda")


def bundle(name: str, folder: str, data_on: str) -> Any:
    """Return a parser of a bundle's training config."""
    config = ConfigParser()
    config.read_config(str(ROOT / "bundles" / name / "configs" / "train.yaml"))
    config.update(
        {"bundle_root": str(ROOT / "bundles" / name), "cache_dir": f"{folder}/{name}", "output_dir": f"{folder}/run",
         "device": torch.device(options.device), "data_on": data_on, "batch_size": options.batch}
    )  # fmt: skip
    if name == "ham10000":
        config.update({"image_size": options.image_size, "dataset_dir": options.dataset_dir})
    return config


def monai_loader(name: str, config: Any) -> DataLoader:
    """Return MONAI's CacheDataset and random transforms that do what the bundle's do, without exchanging labels."""
    own = config.get_parsed_content("train#preprocessing").transforms
    modes = spatial_modes(config.get_parsed_content("tasks"))
    keys = [key for key in modes if not key.endswith("_region") or (name == "openkbp" and key == "dose_region")]
    turn = {"rotate_range": math.pi, "scale_range": (0.15,) * 2, "padding_mode": "reflection"}
    if name == "openkbp":
        turn = {"rotate_range": math.radians(10), "scale_range": (0.1,) * 2, "padding_mode": "zeros"}
    move = RandAffined(keys, mode=[modes[key] for key in keys], prob=PROB, translate_range=(6.0, 6.0), **turn)
    flips = [RandFlipd(keys, prob=PROB, spatial_axis=axis) for axis in ((0, 1) if name == "ham10000" else (1,))]
    if name == "openkbp":
        steps = [own[0], ScaleIntensityRanged("image", -160, 240, 0.0, 1.0, clip=True), *flips, move]
    else:
        steps = [own[0], *flips, move, *own[-2:]]  # color, normalization
    items = config.get_parsed_content("datalists")["train"][: options.samples]
    data = CacheDataset(items, Compose(steps), progress=False)
    return DataLoader(data, batch_size=options.batch, shuffle=True, drop_last=True)


class PillowDataset(torch.utils.data.Dataset[Any]):
    """HAM10000 read and augmented by Pillow at each access."""

    def __init__(self, images: Iterable[tuple[Path, Path]]) -> None:
        """Take pairs of an image's and a mask's file."""
        self.files, self.random = list(images), np.random.default_rng(0)
        self.mean = torch.tensor([123.675, 116.28, 103.53]).reshape(3, 1, 1)
        self.deviation = torch.tensor([58.395, 57.12, 57.375]).reshape(3, 1, 1)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.files)

    def _turned(self, pair: list[Any]) -> list[Any]:
        angle, scale = self.random.uniform(-math.pi, math.pi), 1 + self.random.uniform(-0.15, 0.15, 2)
        shift, (width, height) = self.random.uniform(-6, 6, 2), pair[0].size
        cos, sin = math.cos(angle), math.sin(angle)
        a, b, d, e = cos * scale[0], -sin * scale[1], sin * scale[0], cos * scale[1]
        matrix = (a, b, (1 - a) * width / 2 - b * height / 2 + shift[0],
                  d, e, (1 - e) * height / 2 - d * width / 2 + shift[1])  # fmt: skip
        modes = (Image.Resampling.BILINEAR, Image.Resampling.NEAREST)
        return [
            each.transform(each.size, Image.Transform.AFFINE, matrix, mode)
            for each, mode in zip(pair, modes, strict=True)
        ]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Decode, resize, augment and normalize one image and its mask."""
        size = (options.image_size[1], options.image_size[0])
        image, mask = (Image.open(file) for file in self.files[index])
        pair = [image.convert("RGB").resize(size), mask.convert("L").resize(size, Image.Resampling.NEAREST)]
        for flip in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM):
            if self.random.random() < PROB:
                pair = [each.transpose(flip) for each in pair]
        if self.random.random() < PROB:
            pair = self._turned(pair)
        if self.random.random() < PROB:
            for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                pair[0] = enhance(pair[0]).enhance(1 + self.random.uniform(-0.15, 0.15))
        pixels = torch.from_numpy(np.array(pair[0])).permute(2, 0, 1).float()
        found = torch.from_numpy(np.array(pair[1]) > 127)[None]
        return {"image": (pixels - self.mean) / self.deviation, "lesion": found.to(torch.uint8)}


def pillow_loader(config: Any, folder: str) -> DataLoader:
    """Return torch's loader over the files themselves."""
    items = config.get_parsed_content("datalists")["train"][: options.samples]
    found = find_ham10000(Path(options.dataset_dir or next(Path(folder, "ham10000").glob("synthetic*"))))
    pairs = [(found.images[item["case"]], found.masks[item["case"]]) for item in items]
    return torch.utils.data.DataLoader(PillowDataset(pairs), options.batch, shuffle=True, drop_last=True)


def drawn(loader: Iterable[Any]) -> int:
    """Take about as many samples as asked for, over as many epochs as that needs, and count them."""
    count = 0
    for batch in itertools.chain.from_iterable(itertools.repeat(loader)):
        image = batch["image"].to(options.device, non_blocking=True)
        count += len(image)
        if count >= options.samples:
            break
    if ON_GPU:
        torch.cuda.synchronize()
    return count


def measure(name: str, folder: str) -> None:
    """Print one bundle's table."""
    loaders: dict[str, Any] = {}
    for data_on in ("loader", "device"):
        config = bundle(name, folder, data_on)
        loaders[data_on] = config.get_parsed_content("train#dataloader")
    loaders["MONAI"] = monai_loader(name, bundle(name, folder, "loader"))
    if name == "ham10000":
        loaders["Pillow"] = pillow_loader(config, folder)
    clock: Callable[[], float] = time.perf_counter if ON_GPU else time.process_time
    speeds: dict[str, list[float]] = {each: [] for each in loaders}
    for number in range(options.rounds + 1):
        for each, loader in loaders.items():
            start = clock()
            count = drawn(loader)
            if number:  # the first pass reads
                speeds[each].append(count / (clock() - start))
    for each, found in speeds.items():
        middle = statistics.median(found)
        times = statistics.median(here / other for here, other in zip(speeds["device"], found, strict=True))
        print(f"{name:9} {each:7} {middle:9.0f} {1000 / middle:9.2f} {times:10.2f}")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)
    images = "real" if options.dataset_dir else "synthetic"
    print(f"torch {torch.__version__}, {options.threads} threads, {platform.machine()}, {options.device}")
    print(
        f"{options.samples} samples, batch {options.batch}, {options.rounds} rounds, median; {images} HAM10000 images"
    )
    print("bundle    path      samples/s ms/sample device/it")
    with tempfile.TemporaryDirectory() as place:
        for each_bundle in options.bundles.split(","):
            measure(each_bundle, place)
