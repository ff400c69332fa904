"""How time grows with the voxels of a volume, with tasks, with cases and with workers: tables, exponents and plots.

    OMP_NUM_THREADS=1 python benchmarks/growth.py [--only volume,tasks,cases,workers] [--out growth] [--quick]

*volume*: validation of one cubic volume with organs and dose by a 2D network (hps, ResNet-18), and of that the metrics
alone. *tasks*: a training step with 2 to 6 tasks of the same kind. *cases*: generated images of 48 x 64 pixels in
HAM10000's layout: listing them with an empty cache and again, the check for leakage, an epoch of the training's data,
a validation's metrics. *workers*: samples a second of that epoch by the clock. The exponent is the slope of
log time over log size, least squares over the larger half of sizes, where constant parts matter less: 1 is linear.
Times are the processor's seconds of this process and of its workers, the smallest of ``--rounds``; plots lie in
``--out``.
"""

from __future__ import annotations

import argparse
import csv
import logging
import math
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, MetaTensor
from PIL import Image
from torch import Tensor

from ctan_monai.engines import MultiTaskEvaluator, MultiTaskMetrics
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.networks import create_network
from ctan_monai.report.canvas import line_color, new_figure, save_figure
from ctan_monai.tasks import Classification, Regression, Segmentation

BUNDLE = Path(__file__).parents[1] / "bundles" / "ham10000"
METHODS = ("hps", "mtan", "ctan", "stl")
DIAGNOSES = ("nv", "mel", "bkl", "bcc", "akiec", "vasc", "df")
Times = dict[str, dict[int, float]]  # what is timed: seconds by size


def busy() -> float:
    """Return the processor's seconds of this process and of those that it waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


def seconds(act: Callable[[], object], rounds: int = 1, clock: Callable[[], float] = busy) -> float:
    """Return the smallest seconds of some calls."""
    found = []
    for _ in range(rounds):
        start = clock()
        act()
        found.append(clock() - start)
    return min(found)


def exponent(times: dict[int, float]) -> float:
    """Fit the slope of log time over log size to the larger half of sizes."""
    sizes = sorted(times)[len(times) // 2 - (len(times) < 4) :]
    logs = np.log(sizes), np.log([times[size] for size in sizes])
    return float(np.polyfit(*logs, 1)[0])


def volume(options: argparse.Namespace) -> Times:
    """Validate cubic volumes."""
    tasks = (Segmentation("oar", ["a", "b"], overlapping=True), Regression("dose", "Gy", 70.0))
    network = create_network("hps", tasks, "resnet18").eval()
    metrics = MultiTaskMetrics(tasks)
    found: Times = {"validation": {}, "of that metrics": {}}
    for side in (16, 32) if options.quick else (32, 48, 64, 96, 128, 160):
        image = torch.rand(1, side, side, side)
        item = {
            "case": "pt_1", "image": MetaTensor(image, affine=torch.eye(4)),
            "oar": torch.cat([image > 0.9, image < 0.1]), "dose": 70 * image,
            "oar_present": torch.tensor([True, True]), "dose_present": torch.tensor(True),
        }  # fmt: skip
        evaluator = MultiTaskEvaluator("cpu", DataLoader([item], batch_size=1), network, key_val_metric=metrics)
        found["validation"][side**3] = seconds(evaluator.run, options.rounds)
        batch = next(iter(DataLoader([item], batch_size=1)))
        logits = {task.name: 20 * torch.rand(1, task.channels, side, side, side) - 10 for task in tasks}
        found["of that metrics"][side**3] = seconds(lambda pair=(batch, logits): score(metrics, [pair]), options.rounds)
    return found


def score(metrics: MultiTaskMetrics, batches: list[tuple[dict[str, Any], dict[str, Tensor]]]) -> None:
    """Compute the metrics of batches with their answers."""
    metrics.reset()
    for batch, logits in batches:
        metrics.update(batch, {"image": batch["image"], "label": batch, "pred": logits})
    for metric in metrics.metrics:
        metric.compute()


def tasks(options: argparse.Namespace) -> Times:
    """Make training steps with more and more tasks."""
    side = 32 if options.quick else 96
    image = torch.rand(2, 1, side, side)
    found: Times = {method: {} for method in METHODS}
    for count in (2, 3) if options.quick else (2, 3, 4, 5, 6):
        kinds = tuple(Regression(f"dose{number}", "Gy", 70.0) for number in range(count))
        targets: dict[str, Tensor] = {}
        for task in kinds:
            targets |= {task.name: 70 * image, f"{task.name}_present": torch.ones(2, dtype=torch.bool)}
        for method in METHODS:
            network = create_network(method, kinds, "resnet18")
            loss = MultiTaskLoss(kinds, create_weighting("equal", kinds, independent=network.independent_tasks))

            def step(network: Any = network, loss: Any = loss, targets: Any = targets) -> None:
                network.zero_grad(set_to_none=True)
                torch.autograd.backward(loss(network(image), targets))

            step()
            found[method][count] = seconds(step, options.rounds)
    return found


def write_images(folder: Path, count: int) -> None:
    """Write smooth random images with masks in HAM10000's layout, in lesions of one or two images."""
    random = np.random.default_rng(0)
    places = folder / "HAM10000_images_part_1", folder / "HAM10000_segmentations_lesion_tschandl"
    for place in places:
        place.mkdir(parents=True)
    with (folder / "HAM10000_metadata.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"])
        for number in range(count):
            coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)
            image.save(places[0] / f"SYN_{number:07d}.png")
            mask = np.asarray(image)[..., 0] > 127
            Image.fromarray(mask.astype(np.uint8) * 255).save(places[1] / f"SYN_{number:07d}_segmentation.png")
            diagnosis = DIAGNOSES[number // 3 * 2 % 7]
            rows.writerow([f"L_{number * 2 // 3:06d}", f"SYN_{number:07d}", diagnosis, "", "", "", ""])


def bundle(folder: Path, **given: Any) -> Any:
    """Return a parser of the bundle's training config, nothing made yet."""
    config = ConfigParser()
    config.read_config(str(BUNDLE / "configs" / "train.yaml"))
    config.update(
        {"bundle_root": str(BUNDLE), "dataset_dir": str(folder / "images"), "output_dir": str(folder / "run")}
    )
    config.update(
        {"cache_dir": str(folder / "cache"), "image_size": [48, 64], "device": "$torch.device('cpu')", **given}
    )
    return config


def epoch(config: Any) -> int:
    """Draw an epoch of training samples, and count them."""
    return sum(len(batch["image"]) for batch in config.get_parsed_content("train#dataloader"))


def cases(options: argparse.Namespace) -> Times:
    """List, check, draw and score more and more images."""
    from ctan_monai.data import check_leakage

    kinds = (Segmentation("lesion", ["lesion"], overlapping=True), Classification("diagnosis", DIAGNOSES))
    found: Times = {what: {} for what in ("list", "list again", "leakage", "epoch of data", "metrics")}
    for count in (60, 120) if options.quick else (300, 1000, 3000, 10000):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_images(folder / "images", count)
            found["list"][count] = seconds(lambda f=folder: bundle(f).get_parsed_content("datalists"))
            config = bundle(folder, data_on="loader")
            found["list again"][count] = seconds(lambda c=config: c.get_parsed_content("datalists"))
            lists = config.get_parsed_content("datalists")
            found["leakage"][count] = seconds(lambda given=lists: check_leakage(given))
            found["epoch of data"][count] = seconds(lambda c=config: epoch(c))
            batches = [scored(start) for start in range(0, count, 8)]
            found["metrics"][count] = seconds(lambda given=batches: score(MultiTaskMetrics(kinds), given))
    return found


def scored(start: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Make a batch of 8 images with labels, and answers to it."""
    known = torch.ones(8, 1, dtype=torch.bool)
    batch = {
        "case": [f"c{start + number}" for number in range(8)],
        "image": MetaTensor(torch.zeros(8, 3, 48, 64), affine=torch.eye(4)),
        "lesion": torch.rand(8, 1, 48, 64) > 0.5, "lesion_present": known,
        "diagnosis": torch.arange(8) % 7, "diagnosis_present": known[:, 0],
    }  # fmt: skip
    return batch, {"lesion": torch.randn(8, 1, 48, 64), "diagnosis": torch.randn(8, 7)}


def workers(options: argparse.Namespace) -> Times:
    """Draw an epoch with more and more worker processes, by the clock."""
    count = 120 if options.quick else 2000
    found: Times = {"epoch of data": {}}
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name) / "images", count)
        for number in (1, 2) if options.quick else (1, 2, 4):
            config = bundle(Path(name), data_on="loader", workers=number)
            epoch(config)  # fills the cache, starts the workers
            found["epoch of data"][number] = seconds(lambda c=config: epoch(c), options.rounds, time.perf_counter)
    return found


SECTIONS = {
    "volume": (volume, "voxels"),
    "tasks": (tasks, "tasks"),
    "cases": (cases, "images"),
    "workers": (workers, "workers"),
}


def rows(times: Times) -> Iterator[str]:
    """Format a table with the exponents."""
    sizes = sorted(next(iter(times.values())))
    yield f"{'seconds':18}" + "".join(f"{size:>12,}" for size in sizes) + f"{'exponent':>10}"
    for what, found in times.items():
        yield f"{what:18}" + "".join(f"{found[size]:12.3f}" for size in sizes) + f"{exponent(found):10.2f}"


def plot(times: Times, size: str, path: Path) -> None:
    """Plot seconds over size, both logarithmic, with the fitted exponents."""
    figure = new_figure(7.5, 4)
    axes = figure.subplots()
    for number, (what, found) in enumerate(times.items()):
        sizes = sorted(found)
        label = f"{what}: exponent {exponent(found):.2f}"
        axes.plot(sizes, [found[each] for each in sizes], "o-", color=line_color(number), label=label)
    axes.set(xscale="log", yscale="log", xlabel=size, ylabel="seconds")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(alpha=0.3)
    save_figure(figure, path)


def main() -> None:
    """Measure, print and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--out", type=Path, default=Path("growth"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run?")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    logging.disable(logging.INFO)
    os.environ["TQDM_DISABLE"] = "1"
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}, {os.cpu_count()} cores")
    for name in options.only.split(","):
        act, size = SECTIONS[name]
        times = act(options)
        assert all(math.isfinite(value) for found in times.values() for value in found.values())
        print(f"\n{name}, by {size}", *rows(times), sep="\n", flush=True)
        plot(times, size, options.out / f"{name}.png")


if __name__ == "__main__":
    main()
