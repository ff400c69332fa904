"""A small trained bundle to pack, and the ways in which it is run."""

import contextlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from monai.bundle import ConfigWorkflow

ROOT = Path(__file__).parents[2]
HAM10000 = ROOT / "bundles" / "ham10000"
FEW = {
    split: [f"SYN_{number:07}" for number in numbers]
    for split, numbers in {"train": (2, 3, 4, 5), "validation": (6, 7), "test": (8, 9)}.items()
}
_WITHOUT_PACKAGE = """
import runpy, sys
sys.modules["ctan_monai"] = None
try:
    import ctan_monai
except ImportError:
    pass
else:
    sys.exit("ctan_monai can still be imported")
sys.argv[0] = "monai.bundle"
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""


@contextlib.contextmanager
def kept_logging():
    """Undo what a run sets for the whole process."""
    hook, root = sys.excepthook, logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        sys.excepthook = hook
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)


def run_config(folder, *files, run_id, kind="train", **options):
    """Run some of a bundle's configs in this process."""
    paths = [str(folder / "configs" / name) for name in files]
    made = ConfigWorkflow(
        paths if len(paths) > 1 else paths[0],
        meta_file=str(folder / "configs" / "metadata.json"),
        logging_file=False,
        run_id=run_id,
        workflow_type=kind,
        **{"bundle_root": str(folder), **options},
    )
    with kept_logging():
        made.initialize()
        made.run()
        made.finalize()
    return made


def train_small(folder):
    """Train the bundle ham10000 on a few synthetic images, evaluate it and predict; return the run's folder."""
    (folder / "few.json").write_text(json.dumps(FEW))
    run, cache = folder / "run", {"cache_dir": str(folder / "cache")}
    options = {"method": "hps", "encoder": "resnet18", "image_size": [48, 64], "epochs": 1, "batch_size": 2, **cache}
    options |= {"learning_rate": 0.00003, "output_dir": str(run), "datalist": str(folder / "few.json")}
    run_config(HAM10000, "train.yaml", run_id="training", **options)
    evaluated = {name: options[name] for name in ("method", "encoder", "output_dir", "cache_dir")}
    run_config(HAM10000, "train.yaml", "evaluate.yaml", run_id="evaluating", **evaluated)
    chosen = {"method": "hps", "run_dir": str(run), **cache}
    run_config(HAM10000, "inference.yaml", run_id="inferring", kind="infer", **chosen)
    return run


def run_alone(folder, *arguments):
    """Run `python -m monai.bundle run` in a bundle's own folder, with ctan_monai out of reach."""
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT_PACKAGE, "run", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "."},
    )
