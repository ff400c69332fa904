"""Promise: a node receives at least half as many images a second as Orthanc, from the same sender on the same machine.

    python benchmarks/node_throughput.py [--images 200] [--rounds 3] [--senders 4] [--run RUN]

Synthetic CT images of 512 x 512 are sent by several of dcmtk's ``storescu`` at once, so that the receiver is the slower
side, in turns to a new Orthanc and to a new node; both sync each file to the disk before they answer. With ``--run``, a
run of the prostate bundle, a synthetic patient is then predicted by the node and sent to Orthanc: seconds from its last
image to the last answer, beside ``inferring`` alone.
Needs Debian's ``orthanc`` and ``dcmtk``. Wall-clock seconds, so on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from ctan_monai.data.dicom.write import CtReference, new_study, new_uid, predicted_by, write_ct_series
from ctan_monai.data.phantom.cohort import PhantomGrid, make_cohort

ROOT = Path(__file__).parents[1]
STORESCU, ORTHANC = "/usr/bin/storescu", "/usr/sbin/Orthanc"
PROSTATE = ROOT / "bundles" / "prostate"


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until something listens at a port."""
    for _ in range(600):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    sys.exit(f"nothing listens at {port}")


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server until the context ends."""
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT) as process:
        try:
            wait_for(port)
            yield
        finally:
            process.terminate()


def write_images(folder: Path, count: int) -> None:
    """Write a synthetic CT of noise under UIDs of its own."""
    noise = np.random.default_rng(0).normal(0, 50, (512, 512, count)).astype(np.float32)
    study: CtReference = new_study("throughput", new_uid)
    write_ct_series(noise, np.diag([-1.0, -1.0, 2.0, 1.0]), folder, predicted_by("noise", "SYNTHETIC"), study=study)


def send(folders: Sequence[Path], title: str, port: int) -> float:
    """Send folders, each by a sender of its own; returns the seconds until the last has ended."""
    began = time.perf_counter()
    to = ["-aec", title, "127.0.0.1", str(port)]
    senders = [subprocess.Popen([STORESCU, "+sd", "+r", "+sp", "*.dcm", *to, str(folder)]) for folder in folders]
    if any([sender.wait() for sender in senders]):
        sys.exit(f"{title} did not take everything")
    return time.perf_counter() - began


def start_orthanc(folder: Path, port: int) -> list[str]:
    """Write Orthanc's configuration; returns its command."""
    settings = {
        "StorageDirectory": str(folder / "orthanc"), "IndexDirectory": str(folder / "orthanc"), "Plugins": [],
        "DicomAet": "ORTHANC", "DicomPort": port, "HttpPort": free_port(), "RemoteAccessAllowed": False,
        "DicomAlwaysAllowStore": True, "SyncStorageArea": True,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    return [ORTHANC, str(folder / "orthanc.json")]


def start_node(folder: Path, port: int, orthanc: int, run: Path | None) -> list[str]:
    """Write the node's settings; returns its command. Without a run no series is predicted."""
    bundle = PROSTATE if run else folder / "bundle"
    if run is None:
        run = bundle / "runs" / "none"
        run.mkdir(parents=True)
        (bundle / "configs").mkdir()
        (run / "model.pt").touch()
        (bundle / "configs" / "inference.yaml").touch()
    rule = {"bundle": str(bundle), "run": str(run.resolve()), "modality": "CT" if bundle == PROSTATE else "NONE"}
    rule |= {"send_to": ["orthanc"], "options": {"device": "cpu", "formats": ["rtstruct", "rtdose"]}}
    settings = {
        "folder": str(folder / "node"), "port": port, "page_port": 0, "quiet_s": 2, "rules": [rule],
        "destinations": {"orthanc": {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc}},
    }  # fmt: skip
    (folder / "node.yaml").write_text(yaml.safe_dump(settings))
    return [sys.executable, "-m", "ctan_monai", "node", "--config", str(folder / "node.yaml")]


def receive(place: Path, images: int, rounds: int, senders: int) -> None:
    """Compare the rates of receiving."""
    images -= images % senders  # the same number for each
    orthanc, node = free_port(), free_port()
    seconds: dict[str, list[float]] = {"ORTHANC": [], "CTAN_MONAI": []}
    with (
        running(start_orthanc(place, orthanc), orthanc, place / "orthanc.txt"),
        running(start_node(place, node, orthanc, None), node, place / "node.txt"),
    ):
        time.sleep(30)  # the node's process for predictions imports torch
        for number in range(rounds):
            folders = [place / f"ct{number}-{sender}" for sender in range(senders)]
            for folder in folders:
                write_images(folder, images // senders)
            for title, port in (("ORTHANC", orthanc), ("CTAN_MONAI", node)):
                seconds[title].append(send(folders, title, port))
    rates = {title: [images / each for each in found] for title, found in seconds.items()}
    for title, found in rates.items():
        rate = f"{statistics.median(found):.0f} images of 512 x 512 a second"
        print(f"{title}: {rate} from {senders} senders at once (median of {rounds})")
    ratios = [ours / theirs for ours, theirs in zip(rates["CTAN_MONAI"], rates["ORTHANC"], strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def answer(place: Path, run: Path) -> None:
    """Compare the wait for an answer with the inference alone."""
    from monai.bundle import run as run_bundle

    cohort = make_cohort(place / "patient", 1, 0, grid=PhantomGrid(slices=36, slice_mm=5.0), progress=False)
    orthanc, node = free_port(), free_port()
    with (
        running(start_orthanc(place, orthanc), orthanc, place / "orthanc2.txt"),
        running(start_node(place, node, orthanc, run), node, place / "node2.txt"),
    ):
        time.sleep(30)
        send([cohort.folder], "CTAN_MONAI", node)
        for _ in range(600):
            time.sleep(1)
            with sqlite3.connect(place / "node" / "journal.sqlite") as journal:
                left = journal.execute("SELECT count(*), sum(state != 'sent') FROM deliveries").fetchone()
                last, started, finished = journal.execute(
                    "SELECT max(received), max(started), max(finished) FROM instances, jobs"
                ).fetchone()
                sent = journal.execute("SELECT max(sent) FROM deliveries").fetchone()[0]
            if left[0] and not left[1]:
                break
    options = {"bundle_root": str(PROSTATE), "run_dir": str(run), "device": "cpu", "formats": ["rtstruct", "rtdose"]}
    alone = []
    for number in range(2):  # the first one imports
        began, out = time.perf_counter(), str(place / f"alone{number}")
        config = str(PROSTATE / "configs" / "inference.yaml")
        given = {"input": str(cohort.folder), "output_dir": out, "cache_dir": f"{out}-cache", **options}
        run_bundle("inferring", config_file=config, **given)
        alone.append(time.perf_counter() - began)
    print(f"last image to last answer {sent - last:.1f} s: {started - last:.1f} before the prediction (quiet_s is 2),")
    print(f"{finished - started:.1f} predicting, {sent - finished:.1f} sending; inferring alone {alone[1]:.1f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--senders", type=int, default=4, help="at once")
    parser.add_argument("--run", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        receive(Path(folder), given.images, given.rounds, given.senders)
    if given.run:
        with tempfile.TemporaryDirectory() as folder:
            answer(Path(folder), given.run)


if __name__ == "__main__":
    main()
