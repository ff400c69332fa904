"""How much longer than its network a training takes: an epoch, and a validation, with everything around them.

    python benchmarks/epoch_time.py [--bundles openkbp,...] [--encoder resnet18] [--steps 6] [--rounds 3] [--profile]

Each bundle's own config trains on its sample or synthetic data for three epochs, with data from loaders (--workers, 0
by default) and on the device. The second epoch counts, when caches are warm, samples packed and memory was estimated.
It ends without a validation.
After each step the same network, loss and optimizer make one on the same batch, which is there already: no
loader, no engine, no handlers, no files. After each batch of a validation the network answers to it again. What these
take is the network's time, and is taken off the rest. Rounds are interleaved, values are medians:

    network  seconds of --steps network steps
    epoch    the epoch's "seconds" in metrics.json, less those
    steps    the epoch up to its last step relative to network: of processor time, of the clock's with workers or a GPU
    end      seconds from there until the next epoch begins: last.pt, metrics.json, logs
    of 100   an epoch of 100 steps with its end, relative to network (BUSI's, the shortest, has 113); the goal is 1.05
    infer    seconds of the network for the validation's cases
    val      a validation with reading and metrics relative to infer, measured as steps; the goal is 1.05

With --profile both trainings and a validation are run once more under cProfile, and what MONAI's, ignite's and our
functions take of the processor's time is printed, each with all that it calls; networks and whole loops are left out.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import logging
import os
import platform
import pstats
import re
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--bundles", default="openkbp,prostate,ham10000,stoic,mr_ct,busi")
parser.add_argument("--encoder", default="resnet18")
parser.add_argument("--steps", type=int, default=6)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--workers", type=int, default=0)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--device", default="cpu")
parser.add_argument("--profile", action="store_true")
parser.add_argument("--lines", type=int, default=25, help="of a profile")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)

import torch  # noqa: E402
from ignite.engine import Events  # noqa: E402
from monai.bundle import ConfigParser  # noqa: E402

CLOCK = 1 if options.workers or options.device != "cpu" else 0
ROOT = Path(__file__).parents[1]
OWN: dict[str, dict[str, Any]] = {  # sizes as for real data, with few cases
    "prostate": {"phantoms": 4, "batch_size": 8},
    "stoic": {"image_size": [160, 224], "slices": 16},
    "mr_ct": {"phantoms": 4, "method": "sfg", "layer_scale": 0.5, "batch_size": 8},
    "busi": {"image_size": [256, 256], "network_size": "small"},
}


class Bench:
    """One training of a bundle, and the clock of its parts."""

    def __init__(self, name: str, folder: str, data_on: str) -> None:
        config = ConfigParser()
        config.read_config(str(ROOT / "bundles" / name / "configs" / "train.yaml"))
        given = {"bundle_root": str(ROOT / "bundles" / name), "cache_dir": f"{folder}/{name}", "epochs": 3,
                 "output_dir": tempfile.mkdtemp(dir=folder), "device": torch.device(options.device), "amp": False,
                 "data_on": data_on, "workers": options.workers, "val_interval": 3,
                 "train#trainer#epoch_length": options.steps}  # fmt: skip
        if name not in ("mr_ct", "busi"):
            given["encoder"] = options.encoder
        config.update(given | OWN.get(name, {}))
        for part in ("initialize", "training"):
            for number, step in enumerate(config[part]):
                if isinstance(step, str):  # training itself
                    break
                config.get_parsed_content(f"{part}#{number}")
        self.folder = Path(given["output_dir"])
        self.trainer = config.get_parsed_content("train#trainer")
        self.evaluator = config.get_parsed_content("validate#evaluator")
        self.stamps: dict[str, tuple[float, float]] = {}
        self.spent = {"network": [0.0, 0.0], "infer": [0.0, 0.0]}  # seconds: processor, clock
        self.trainer.add_event_handler(Events.EPOCH_STARTED, lambda: self._stamp("start"))
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, self.network_step)

    def _stamp(self, what: str) -> None:
        self.stamps[f"{what} {self.trainer.state.epoch}"] = _now()

    def network_step(self) -> None:
        """Make the step that the trainer has just made once more, by the network alone."""
        if self.trainer.state.epoch == 2:
            output = self.trainer.state.output
            self._take("network", self._step, getattr(output["image"], "as_tensor", lambda: output["image"])(),
                       output["label"])  # fmt: skip
            self._stamp("step")

    def _step(self, image: torch.Tensor, targets: Any) -> None:
        trainer = self.trainer
        trainer.optimizer.zero_grad(set_to_none=True)
        outputs = trainer.inferer(image, trainer.network)
        penalty = getattr(trainer.network, "penalty", dict)()  # sfg's
        torch.autograd.backward(sum(penalty.values(), trainer.loss_function(outputs, targets).mean()))
        trainer.optimizer.step()

    def _answer(self) -> None:
        """Let the network answer to the evaluator's batch once more."""
        image, network = self.evaluator.state.output["image"], self.trainer.network.eval()
        with torch.inference_mode():
            self._take("infer", self.evaluator.inferer, image, network)

    def _take(self, what: str, work: Any, *given: Any) -> None:
        start = _now()
        work(*given)
        self.spent[what] = [
            spent + now - then for spent, now, then in zip(self.spent[what], _now(), start, strict=True)
        ]

    def train(self) -> dict[str, float]:
        """Train, validate once more and return the seconds of both."""
        self.trainer.run()
        self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._answer)
        start = _now()
        self.evaluator.run(1)
        validated, at = _now(), self.stamps
        seconds = json.loads((self.folder / "metrics.json").read_text())["epochs"][1]["seconds"]
        row = {"epoch": seconds - self.spent["network"][1], "end": at["start 3"][1] - at["step 2"][1]}
        for name, begin, end, network in (("steps", at["start 2"], at["step 2"], "network"),
                                          ("val", start, validated, "infer")):  # fmt: skip
            row |= {name: end[CLOCK] - begin[CLOCK] - self.spent[network][CLOCK], network: self.spent[network][CLOCK]}
        return row


def _now() -> tuple[float, float]:
    if options.device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.process_time(), time.perf_counter()


def measure(name: str, folder: str) -> None:
    """Print one bundle's rows."""
    found: dict[str, list[dict[str, float]]] = {"loader": [], "device": []}
    for _ in range(options.rounds):
        for data_on, rows in found.items():
            rows.append(Bench(name, folder, data_on).train())
    for data_on, rows in found.items():
        each_step = [row["steps"] / row["network"] for row in rows]
        whole = [(row["steps"] + row["end"] * options.steps / 100) / row["network"] for row in rows]
        val = [row["val"] / row["infer"] for row in rows]
        seconds = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(f"{name:9} {data_on:7}{seconds['network']:8.2f}{seconds['epoch']:8.2f}{statistics.median(each_step):8.3f}"
              f"{seconds['end']:7.2f}{statistics.median(whole):8.3f}{seconds['infer']:8.2f}{statistics.median(val):8.3f}",
              flush=True)  # fmt: skip


def profile(name: str, folder: str) -> None:
    """Print the functions that a training by each way to the data, and a validation, spend their processor time in."""
    for data_on in ("loader", "device"):
        bench = Bench(name, folder, data_on)
        bench.trainer.remove_event_handler(bench.network_step, Events.ITERATION_COMPLETED)
        _print_profile(f"{name} training, {data_on}", bench.trainer.run)
        if data_on == "loader":  # validations read by loaders in both
            _print_profile(f"{name} validation", bench.evaluator.run, 1)


def _print_profile(title: str, work: Any, *given: Any) -> None:
    """Print what MONAI's, ignite's and our functions take with all that they call, networks left out."""
    record = cProfile.Profile(time.process_time)
    record.runcall(work, *given)
    found = pstats.Stats(record).stats.items()  # type: ignore[attr-defined]
    whole = sum(own for _, (_, _, own, _, _) in found)
    rows = [(total, calls, "/".join(Path(path).parts[-3:]), function)
            for (path, _, function), (_, calls, _, total, _) in found
            if re.search("monai/(?!networks)|ignite/", path) and total < whole / 3]  # fmt: skip
    print(f"{title}: {1000 * whole:.0f} ms of processor time, of which")
    for total, calls, place, function in sorted(rows, reverse=True)[: options.lines]:
        print(f"  {1000 * total:7.1f} ms {100 * total / whole:5.1f} %{calls:7} calls  {place} {function}")


if __name__ == "__main__":
    logging.disable()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, {platform.machine()}, {options.device}")
    print(f"{options.encoder}, {options.steps} steps, {options.workers} workers, {options.rounds} rounds, median")
    print("bundle    data_on network   epoch   steps    end  of 100   infer     val")
    with tempfile.TemporaryDirectory() as place:
        for each in options.bundles.split(","):
            measure(each, place)
            if options.profile:
                profile(each, place)
