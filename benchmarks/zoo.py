"""Pack bundles, and run the Model Zoo's own checks on what was packed, then inference from the unpacked archive.

    python benchmarks/zoo.py --zoo CHECKOUT --out packed --run openkbp=RUN --run ham10000=RUN

CHECKOUT is one of github Project-MONAI/model-zoo; nothing of it is copied. A bundle without --run gets a training of
one epoch on its sample or its synthetic data, only to have weights to check with.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from monai.bundle import verify_net_in_out

from ctan_monai.errors import CtanError
from ctan_monai.share import Packed, pack_bundle

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = Path(__file__).with_name("zoo_schema.json")  # a stand-in
TINY = {"encoder": "resnet18", "epochs": 1, "batch_size": 16}
TINY_OF = {
    "busi": {"encoder": None, "batch_size": 4},  # its network has an encoder of its own
    "mr_ct": {"encoder": None, "batch_size": 8, "phantoms": 4, "layer_scale": 0.25},  # so has this one
    "openkbp": {"slices": "dose", "datalist": "tiny.json"},
    "prostate": {"phantoms": 4, "slices": "dose"},
}
TINY_PATIENTS = {"train": ["pt_74"], "validation": ["pt_226"], "test": ["pt_232"]}  # of openkbp's sample
# The Zoo registers bundles whose networks have several outputs in this list; its shape check knows one.
FULL = """
import sys
name, models = sys.argv[1:]
sys.path.insert(0, "ci")
import bundle_custom_data
bundle_custom_data.exclude_verify_shape_list.append(name)
import verify_bundle
verify_bundle.verify(name, models, "full")
"""


# A bundle that has its code must not need the package.
HIDDEN = """
import runpy, sys
sys.modules["ctan_monai"] = None
sys.argv[0] = "monai.bundle"
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""


def run(arguments: list[str], cwd: Path) -> str:
    """Run a Python command; return what is wrong with it, empty if nothing is."""
    environment = {**os.environ, "PYTHONPATH": str(cwd)}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, env=environment)
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return "" if done.returncode == 0 else lines[-1] if lines else f"exit {done.returncode}"


def bundle_run(run_id: str, configs: list[str], root: Path, *options: str) -> list[str]:
    """Return the arguments of ``monai.bundle run`` for some of a bundle's configs."""
    files = str([str(root / "configs" / name) for name in configs])
    program = ["-c", HIDDEN] if (root / "scripts").is_dir() else ["-m", "monai.bundle"]
    return [*program, "run", run_id, "--config_file", files, "--bundle_root", str(root), *options]


def tiny_run(bundle: Path, work: Path) -> Path:
    """Train for one epoch and evaluate; return the run's folder.

    Raises:
        RuntimeError: one of them failed.
    """
    work.mkdir(parents=True, exist_ok=True)
    (work / "tiny.json").write_text(json.dumps(TINY_PATIENTS))
    folder = work / f"run_{bundle.name}"
    given = {**TINY, **TINY_OF.get(bundle.name, {}), "output_dir": folder, "cache_dir": work / bundle.name}
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    for run_id, configs in (("training", ["train.yaml"]), ("evaluating", ["train.yaml", "evaluate.yaml"])):
        if wrong := run(bundle_run(run_id, configs, bundle, *options), work):
            raise RuntimeError(f"{bundle.name}, {run_id}: {wrong}")
    return folder


def check_outputs(folder: Path) -> str:
    """Check the shape of each output with MONAI, one at a time; return what is wrong."""
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    tasks = [entry["name"] for entry in json.loads((folder / "models" / "run.json").read_text())["tasks"]]
    outputs = metadata["network_data_format"]["outputs"]
    for task, described in zip(tasks, outputs.values(), strict=True):
        one = {"network_data_format": {**metadata["network_data_format"], "outputs": {"pred": described}}}
        path = folder / "eval" / f"metadata_{task}.json"
        path.write_text(json.dumps(one))
        try:
            verify_net_in_out(
                net_id=f"network_{task}",
                meta_file=str(path),
                config_file=str(folder / "configs" / "inference.yaml"),
                device="cpu",
                bundle_root=str(folder),
            )
        except (ValueError, RuntimeError, KeyError, ImportError) as error:
            return f"{task}: {error}"
    return ""


def check(packed: Packed, models: Path, zoo: Path) -> dict[str, str]:
    """Unpack an archive among the models, and run every check on it; return by check what is wrong."""
    name = packed.folder.name
    shutil.unpack_archive(packed.archive, models / "unpacked" / name)
    folder = models / name
    shutil.move(models / "unpacked" / name / name, folder)
    (folder / "eval").mkdir()
    shutil.copyfile(SCHEMA, folder / "eval" / "schema.json")
    shutil.copyfile(zoo / "models" / "model_info.json", models / "model_info.json")
    sys.path.insert(0, str(folder))  # as MONAI does for a bundle that has scripts
    found = {
        "min": run(["ci/verify_bundle.py", "-b", name, "-p", str(models), "-m", "min"], zoo),
        "full": run(["-c", FULL, name, str(models)], zoo),
        "outputs": check_outputs(folder),
        "inference": run(bundle_run("inferring", ["inference.yaml"], folder), folder),
        "evaluation": run(bundle_run("evaluating", ["train.yaml", "evaluate.yaml"], folder), folder),
    }
    sys.path.remove(str(folder))
    return found


def main() -> int:
    """Pack, check, and say for every bundle what passed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--zoo", type=Path, required=True, help="checkout of github Project-MONAI/model-zoo")
    parser.add_argument("--out", type=Path, required=True, help="new folder for the packed bundles")
    parser.add_argument("--run", action="append", default=[], metavar="BUNDLE=RUN", help="run to pack a bundle with")
    parser.add_argument("--bundles", nargs="*", help="some of bundles/; all without it")
    parser.add_argument("--no-vendor", dest="vendor", action="store_false", help="leave the code out")
    arguments = parser.parse_args()
    if not (arguments.zoo / "ci" / "verify_bundle.py").is_file():
        parser.error(f"--zoo {arguments.zoo}: it has no ci/verify_bundle.py")
    runs = dict(entry.split("=", 1) for entry in arguments.run)
    names = arguments.bundles or sorted(path.parents[1].name for path in ROOT.glob("bundles/*/configs/metadata.json"))
    out = arguments.out.resolve()
    failed = False
    for name in names:
        started = time.monotonic()
        try:
            weights = Path(runs[name]) if name in runs else tiny_run(ROOT / "bundles" / name, out / "work")
            packed = pack_bundle(ROOT / "bundles" / name, weights, out, arguments.vendor, case_names=True)
            results = check(packed, out / "work" / "models", arguments.zoo.resolve())
        except (CtanError, RuntimeError) as error:
            results = {"pack": str(error)}
        failed = failed or any(results.values())
        words = ", ".join(f"{what} {'FAILED: ' + wrong if wrong else 'passes'}" for what, wrong in results.items())
        print(f"{name}: {words} ({time.monotonic() - started:.0f} s)", flush=True)
    print("The schema of the metadata is a stand-in (benchmarks/zoo_schema.json); the Zoo's own is a download.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
