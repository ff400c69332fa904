"""Test the MONAI Label app against a real server, in an environment of its own that this script makes.

    python tests/label/run.py [--folder build/label] [--python PYTHON]

Makes a virtual environment with what requirements.txt pins, trains a small network on synthetic patients, writes the
app, starts the server on this machine, asks and checks it, and prints the answers. Everything is in the folder; a
second run uses its environment and its network again.
"""

import argparse
import http.client
import os
import socket
import subprocess
import sys
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
UPLOAD_MIB = 8
GRID = "'rows': 60, 'columns': 90, 'slices': 12, 'row_mm': 5.0, 'column_mm': 5.0, 'slice_mm': 8.0"
SMALL = {
    "method": "hps",
    "encoder": "resnet18",
    "epochs": 12,
    "phantoms": 4,
    "image_size": "[64,64]",
    "pixel_mm": 6.0,
    "learning_rate": 0.001,
    "val_interval": 4,
    "augment": 0,
    "batch_size": 2,
    "phantom_grid": "{'_target_': 'ctan_monai.data.PhantomGrid', " + GRID + "}",
}


def main():
    """Do all of it; leave with 0 if every check held."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "label", help="for all that is made")
    parser.add_argument("--python", type=Path, help="an environment's python to use instead of making one")
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python = given.python or environment(folder / "env")
    run = trained(python, folder)
    app, studies = folder / "app", folder / "studies"
    for old in (app, studies):
        if old.exists():
            old.rename(old.with_name(f"{old.name}.{time.time_ns()}"))
    call(python, HERE / "volumes.py", folder / "cache", studies, folder / "labels")
    call(python, "-m", "ctan_monai", "label-app", "--bundle", ROOT / "bundles" / "prostate", "--run", run, "--out", app,
         "--upload-mib", UPLOAD_MIB)  # fmt: skip
    failed = with_server(python, app, studies, folder)
    as_stock_task(python, run, studies, folder)
    sys.exit(failed)


def as_stock_task(python, run, studies, folder):
    """Run the packed bundle by MONAI Label's own BundleInferTask."""
    packed = folder / "packed"
    if packed.exists():
        packed.rename(packed.with_name(f"packed.{time.time_ns()}"))
    call(python, "-m", "ctan_monai", "pack", ROOT / "bundles" / "prostate", "--weights", run, "--out", packed,
         "--no-vendor")  # fmt: skip
    call(python, HERE / "bundle_task.py", packed / "prostate", next(studies.glob("synthetic_*.nii.gz")), ".nrrd")


def environment(folder):
    """Return the python of a virtual environment, made if it is not there."""
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        venv.create(folder, with_pip=True)
        requirements = HERE / "requirements.txt"
        call(python, "-m", "pip", "install", "--quiet", "-r", requirements)
        call(python, "-m", "pip", "install", "--quiet", "-e", ROOT, "-c", requirements)
        done.write_text("requirements.txt and the package\n")
    return python


def trained(python, folder):
    """Return the folder of a small run, trained if it is not there."""
    run = folder / "run"
    if not (run / "report.html").exists():
        options = [part for key, value in SMALL.items() for part in (f"--{key}", value)]
        config = ROOT / "bundles" / "prostate" / "configs" / "train.yaml"
        places = ["--output_dir", run, "--cache_dir", folder / "cache", "--bundle_root", config.parents[1]]
        call(python, "-m", "monai.bundle", "run", "training", "--config_file", config, *places, *options)
    return run


def with_server(python, app, studies, folder):
    """Start the server, run the checks, stop the server; return the checks' exit code."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "server.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [str(python), str(app / "start.py"), str(studies), "--port", str(port)],
            stdout=file, stderr=subprocess.STDOUT, cwd=folder, env=quiet(),
        )  # fmt: skip
    try:
        wait_for(port, server, log)
        asked = [python, HERE / "checks.py", f"http://127.0.0.1:{port}", studies, folder / "labels", log, UPLOAD_MIB]
        return subprocess.run([str(part) for part in asked], env=quiet()).returncode
    finally:
        server.terminate()
        server.wait(30)


def wait_for(port, server, log, seconds=180):
    """Wait until the server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/info/")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(1)
    sys.exit(f"the server did not start; the end of its log:\n{log.read_text(errors='replace')[-3000:]}")


def call(*command):
    """Run a command; its failure ends the script."""
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, env=quiet())


def quiet():
    """Return the environment with one thread for each program."""
    return {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


if __name__ == "__main__":
    main()
