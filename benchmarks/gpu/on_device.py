"""On a machine with a GPU and no network: unpack the kit, test, time, train, evaluate; in the root of a checkout.

    python benchmarks/gpu/on_device.py KIT OUT                          # everything
    python benchmarks/gpu/on_device.py KIT OUT unpack test time data    # where a call may take ten minutes: in three
    python benchmarks/gpu/on_device.py KIT OUT train evaluate [--method ctan] [--train-s 330]
    python benchmarks/gpu/on_device.py KIT OUT ham10000 [--epochs 20]

The stages are done in the order given; one that fails does not keep the others from running. KIT may hold some of the
kit's files: what is there is unpacked. OUT gets a few small files (tables and logs; a ResNet-50 CTAN's weights have
200 MB and stay), so train and evaluate in one call, or on one machine. What follows ``--`` goes to the bundle.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = time.monotonic()


class Device:
    """The stages, on the unpacked kit."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.kit, self.out = options.kit.resolve(), options.out.resolve()
        self.where = options.where.resolve()
        self.run = self.where / "runs" / options.method
        self.cases = self.where / "data" / "openkbp"
        for folder in (self.out, self.where / "data", self.run):
            folder.mkdir(parents=True, exist_ok=True)
        paths = [str(self.where / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
        self.environment |= {"OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}

    def unpack(self) -> int:
        """Check and unpack what the kit holds, install its wheels."""
        sums = dict(reversed(line.split()) for line in (self.kit / "SHA256SUMS").read_text().splitlines())
        for archive in sorted(self.kit.glob("*.tar")):
            if hashlib.sha256(archive.read_bytes()).hexdigest() != sums[archive.name]:
                sys.exit(f"{archive.name} is damaged: its checksum is not that of SHA256SUMS")
            with tarfile.open(archive) as tar:
                tar.extractall(self.where / ("" if archive.name == "wheels.tar" else "data"), filter="data")
        if wheels := sorted((self.where / "wheels").glob("*.whl")):
            quiet = ["-q", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade"]
            return self.call("-m", "pip", "install", *quiet, "--target", self.where / "site", *wheels)
        return 0

    def test(self) -> int:
        """Run the tests for a GPU."""
        # torch.compile takes a core's minutes
        beside = ["-n", min(os.cpu_count() or 1, 10)] if find_spec("xdist") else []
        return self.call("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *beside, log="pytest.txt")

    def time(self) -> int:
        """Time training steps, and the trainer with its loader."""
        options = ["--out", self.out / "steps.json", "--device", self.options.device, "--seconds", self.options.time_s]
        options += ["--cases", self.cases] * self.cases.is_dir() + ["--quick"] * self.options.quick
        return self.call("-W", "ignore", Path(__file__).with_name("step.py"), *options, log="steps.txt")

    def data(self) -> int:
        """Time the data path alone, and epochs and validations against their networks."""
        chosen, images = self.options, self.where / "data" / "ham10000"
        paths = ["--device", chosen.device, "--batch", chosen.batch, "--samples", 4 * chosen.batch]
        paths += ["--bundles", "openkbp", "--rounds", 1] if chosen.quick else []
        paths += ["--dataset_dir", images] * images.is_dir()
        code = self.call("-W", "ignore", ROOT / "benchmarks" / "data_path.py", *paths, log="data-path.txt")
        if chosen.quick:
            return code
        epochs = ["--device", chosen.device, "--encoder", chosen.encoder, "--bundles", "openkbp,ham10000"]
        return self.call(ROOT / "benchmarks" / "epoch_time.py", *epochs, log="epochs.txt") or code

    def train(self) -> int:
        """Train on OpenKBP for about ``--train-s`` seconds; epochs are planned, as the schedule ends with the last."""
        sys.path[:0] = [str(self.where / "site"), str(ROOT)]  # only now: before `unpack` there may be none of it
        from ctan_monai.data.cases.file_read import read_header
        from ctan_monai.data.lists.datalist import slices_to_use

        slices = [slices_to_use(read_header(path), "body") for path in (self.cases / "train").glob("*.case")]
        per_epoch = sum(map(len, slices))
        epochs = self.options.epochs or max(1, int(self.options.train_s * self._rate() * 0.8 / per_epoch))
        say(f"{epochs} epochs of {per_epoch} slices")
        given = {"datalists#sample_dir": self.cases, "epochs": epochs, "val_interval": max(1, epochs // 5)}
        code = self._bundle("openkbp", "training", ["train.yaml"], given, self.options.train_s)
        for name in ("metrics.json", "log.txt"):
            if (self.run / "openkbp" / name).is_file():
                shutil.copy(self.run / "openkbp" / name, self.out / f"openkbp-{name}")
        return code

    def evaluate(self) -> int:
        """Evaluate that training on the test patients; tables come back, pages and images of 83 patients do not."""
        given = {"datalists#sample_dir": self.cases}
        code = self._bundle("openkbp", "evaluating", ["train.yaml", "evaluate.yaml"], given, None)
        folder = self.run / "openkbp" / "evaluation"
        with tarfile.open(self.out / "openkbp-evaluation.tar.gz", "w:gz") as tar:
            for path in sorted([*folder.glob("*.csv"), *folder.glob("*.json")]):
                tar.add(path, arcname=path.name)
        return code

    def ham10000(self) -> int:
        """Train on HAM10000 and evaluate, where the kit has its images."""
        images = self.where / "data" / "ham10000"
        if not images.is_dir():
            say("no images of HAM10000 are there")
            return 0
        given = {"dataset_dir": images, "epochs": self.options.epochs or 20}
        code = self._bundle("ham10000", "training", ["train.yaml"], dict(given), self.options.train_s)
        configs = ["train.yaml", "evaluate.yaml"]
        code = code or self._bundle("ham10000", "evaluating", configs, {"dataset_dir": images}, None)
        for name in ("metrics.json", "evaluation/summary.json"):
            if (path := self.run / "ham10000" / name).is_file():
                shutil.copy(path, self.out / f"ham10000-{path.name}")
        return code

    def _bundle(
        self, name: str, run_id: str, configs: list[str], given: dict[str, object], seconds: float | None
    ) -> int:
        chosen = self.options
        given |= {"method": chosen.method, "encoder": chosen.encoder, "device": chosen.device}
        given |= {"output_dir": self.run / name, "cache_dir": self.where / "cache" / name, "workers": chosen.workers}
        if run_id == "training":
            given |= {"batch_size": chosen.batch}
        files = [f"'{ROOT / 'bundles' / name / 'configs' / config}'" for config in configs]
        words = [word for key, value in given.items() for word in (f"--{key}", value)]
        command = ["-W", "ignore", "-m", "monai.bundle", "run", run_id, "--config_file", f"[{','.join(files)}]"]
        return self.call(*command, *words, *chosen.bundle_options, log=f"{name}-{run_id}.txt", seconds=seconds)

    def _rate(self) -> float:
        """Images a second of the trainer with its loader, as timed; 1,000 where it was not."""
        path = self.out / "steps.json"
        rows = json.loads(path.read_text()).get("trainer with loader", []) if path.is_file() else []
        return max((row["images_s"] for row in rows if not row["compiled"]), default=1000.0)

    def call(self, *words: object, log: str | None = None, seconds: float | None = None) -> int:
        """Run this Python with arguments; after ``seconds`` SIGTERM asks it to end in good order."""
        command = [sys.executable, *map(str, words)]
        with (self.out / log if log else Path(os.devnull)).open("w") as file:
            process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=file, stderr=subprocess.STDOUT)
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.terminate()
                code = process.wait()
        if log:
            print("".join((self.out / log).read_text(errors="replace").splitlines(keepends=True)[-15:]), flush=True)
        return code


def say(text: str) -> None:
    """Print with the seconds since the start."""
    print(f"== {time.monotonic() - START:4.0f} s  {text}", flush=True)


STAGES = ("unpack", "test", "time", "data", "train", "evaluate", "ham10000")


def main() -> None:
    """Do the stages."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; none: all of them")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--method", default="ctan")
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--batch", type=int, default=128, help="below about 100 a large GPU waits for Python")
    parser.add_argument("--workers", type=int, default=max((os.cpu_count() or 1) - 1, 0))
    parser.add_argument("--epochs", type=int, default=0, help="0: as many as --train-s allows")
    parser.add_argument("--train-s", type=float, default=330.0)
    parser.add_argument("--time-s", type=float, default=200.0)
    parser.add_argument("--where", type=Path, default=Path("build/gpu"), help="unpacked data, wheels, runs")
    parser.add_argument("--quick", action="store_true", help="small networks and few steps, to try this on a CPU")
    options = parser.parse_args(words[:cut])
    options.bundle_options = words[cut + 1 :]
    if odd := set(options.stages) - set(STAGES):
        parser.error(f"no stages: {', '.join(sorted(odd))}; there are {', '.join(STAGES)}")
    device = Device(options)
    failed = []
    for stage in options.stages or STAGES:
        say(stage)
        if code := getattr(device, stage)():
            failed.append(f"{stage} ({code})")
    for path in sorted(device.out.iterdir()):
        print(f"{path.stat().st_size / 1024:8.0f} KiB  {path.name}")
    if failed:
        sys.exit(f"did not end well: {', '.join(failed)}")


if __name__ == "__main__":
    main()
