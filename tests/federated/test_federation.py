"""A federation of three sites, one without diagnoses, simulated by NVFLARE and by hand."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pack_kit import HAM10000, kept_logging, run_config

from ctan_monai.federated.average import average
from ctan_monai.federated.server import mean_score
from ctan_monai.federated.site import Site
from ctan_monai.files.json_files import read_json

pytestmark = [pytest.mark.dist, pytest.mark.slow, pytest.mark.filterwarnings("ignore:executing the bundle config")]
SITES = {  # synthetic images to learn from, and to measure on: disjoint
    "a": {"train": [5, 8, 20, 21], "validation": [11, 34], "test": [25]},
    "b": {"train": [29, 31, 39, 40], "validation": [16, 12], "test": [25]},
    "c": {"train": [46, 47, 52, 53], "validation": [13, 14], "test": [25]},
}
SHARED = {"method": "hps", "encoder": "resnet18", "image_size": [64, 64], "batch_size": 4, "epochs": 2}
ROUNDS = 2


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The file of each site's own options."""
    folder = tmp_path_factory.mktemp("federation")
    found = {}
    for site, splits in SITES.items():
        names = {split: [f"SYN_{number:07d}" for number in numbers] for split, numbers in splits.items()}
        (folder / f"{site}_cases.json").write_text(json.dumps(names))
        options = {"datalist": str(folder / f"{site}_cases.json"), "cache_dir": str(folder / "cache")}
        options |= {"known_diagnoses": 0.0} if site == "c" else {}
        found[site] = folder / f"{site}.json"
        found[site].write_text(json.dumps(options))
    return found


@pytest.fixture(scope="module")
def by_hand(files, tmp_path_factory):
    """What should come out: weights before each round and scores, and the names that site c sends."""
    folder = tmp_path_factory.mktemp("by_hand")
    with kept_logging():
        sites = {
            name: Site(name, HAM10000, {**SHARED, "output_dir": str(folder / name), **json.loads(file.read_text())})
            for name, file in files.items()
        }
        weights = [sites["a"].weights()]
        scores, sent = [], set()
        for number in range(ROUNDS + 1):
            scores.append(mean_score([site.measure(weights[-1]) for site in sites.values()]))
            if number < ROUNDS:
                updates = [site.train(weights[-1]) for site in sites.values()]
                sent = set(updates[2].weights)
                weights.append(average(weights[-1], updates))
    return weights, scores, sent


def command_for(files, out, *more):
    command = [sys.executable, "-m", "ctan_monai", "federate", "--bundle", str(HAM10000), "--out", str(out)]
    command += ["--rounds", str(ROUNDS)] + [part for name in files for part in ("--site", f"{name}={files[name]}")]
    return [*command, *more, "--"] + [
        part for name, value in SHARED.items() for part in (f"--{name}", json.dumps(value))
    ]


def run(command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "1000"}
    return subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)


@pytest.fixture(scope="module")
def federated(files, tmp_path_factory):
    """The folder that the command leaves."""
    out = tmp_path_factory.mktemp("federated") / "out"
    done = run(command_for(files, out))
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def hit_after(out, rounds, site, number):
    """Send a signal to a site's process once so many rounds are complete; SIGSTOP: it neither answers nor ends."""
    while len((read_json(out / "rounds.json") or {}).get("rounds", [])) < rounds:
        time.sleep(0.2)
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().decode(errors="replace").split("\0")
            if str(out / "sites" / site / "site.json") in words and "ctan_monai.federated.site_loop" in words:
                os.kill(int(entry.parent.name), number)


@pytest.mark.skipif(not Path("/proc/self/cmdline").is_file(), reason="finds the site's process by /proc")
def test_a_silent_site_ends_the_training_with_a_sentence_and_it_continues(files, by_hand, tmp_path):
    out = tmp_path / "out"
    threading.Thread(target=hit_after, args=(out, 1, "b", signal.SIGSTOP), daemon=True).start()
    done = run(command_for(files, out, "--timeout", "90"))
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert f"1 of {ROUNDS + 1} rounds came to an end; b did not answer in round 1 within 90 s." in said
    assert "--resume" in said
    first = (out / "rounds.json").read_text()

    done = run(command_for(files, out, "--timeout", "400", "--resume"))
    assert done.returncode == 0, done.stdout + done.stderr
    weights, scores, _ = by_hand
    rounds = json.loads((out / "rounds.json").read_text())
    assert rounds["rounds"][0] == json.loads(first)["rounds"][0]
    assert [entry["score"] for entry in rounds["rounds"]] == pytest.approx(scores, abs=1e-6)
    assert "stopped" not in rounds
    left = torch.load(out / "last.pt", weights_only=True)
    assert left["round"] == ROUNDS
    apart = sum(np.linalg.norm(left["weights"][name].numpy() - value) ** 2 for name, value in weights[-1].items())
    moved = sum(np.linalg.norm(weights[-1][name] - value) ** 2 for name, value in weights[-2].items())
    assert apart < 0.01 * moved

    other = run(command_for({name: files[name] for name in "ab"}, out, "--resume"))
    assert other.returncode == 2
    assert "is of another federation: sites" in other.stderr


@pytest.mark.skipif(not Path("/proc/self/cmdline").is_file(), reason="finds the site's process by /proc")
def test_a_site_whose_process_dies_is_named_at_once_and_no_other(files, tmp_path):
    out = tmp_path / "out"
    threading.Thread(target=hit_after, args=(out, 1, "b", signal.SIGKILL), daemon=True).start()
    done = run(command_for({name: files[name] for name in "ab"}, out, "--timeout", "3000"))
    assert done.returncode == 2
    assert f"1 of {ROUNDS + 1} rounds came to an end; b failed in round 1." in " ".join(done.stderr.split())


def test_nvflare_does_what_the_sites_do_by_hand(federated, by_hand):
    weights, scores, _ = by_hand
    rounds = json.loads((federated / "rounds.json").read_text())
    assert [entry["score"] for entry in rounds["rounds"]] == pytest.approx(scores, abs=1e-6)
    assert [sorted(entry["sites"]) for entry in rounds["rounds"]] == [["a", "b", "c"]] * (ROUNDS + 1)
    best = max(range(ROUNDS + 1), key=lambda number: (scores[number], number))
    kept = torch.load(federated / "model.pt", weights_only=True)
    assert list(kept) == list(weights[best])
    apart = {name: np.linalg.norm(value.numpy() - weights[best][name]) for name, value in kept.items()}
    moved = {name: np.linalg.norm(weights[best][name] - weights[0][name]) for name in kept}
    # against the way that the training went: where a gradient is nearly 0, as of a bias that a norm layer takes away
    # again, Adam makes a step of the last bit of a sum
    assert [name for name in kept if apart[name] > 0.01 * moved[name] + 1e-6] == []
    assert np.linalg.norm(list(apart.values())) <= 1e-4 * np.linalg.norm(list(moved.values())) + 1e-6
    assert any(not np.array_equal(weights[0][name], weights[-1][name]) for name in kept)


def test_a_site_without_a_tasks_labels_sends_nothing_of_it(by_hand):
    weights, _, sent = by_hand
    left_out = set(weights[0]) - sent
    assert left_out
    assert all("diagnosis" in name for name in left_out)
    assert not any("diagnosis" in name for name in sent)


def test_the_common_network_predicts_as_a_run_of_ones_own(federated, files, tmp_path):
    options = {"run_dir": str(federated), "method": "hps", "image_size": [64, 64], "overlays": 0}
    options |= {"output_dir": str(tmp_path / "found"), "cache_dir": str(next(iter(files.values())).parent / "cache")}
    run_config(HAM10000, "inference.yaml", run_id="inferring", kind="infer", **options)
    assert len((tmp_path / "found" / "predictions.csv").read_text().splitlines()) > 2


def test_no_case_is_named_in_what_the_server_has(federated):
    at_server = [path for path in (federated / "nvflare" / "server").rglob("*") if path.is_file()]
    at_server += [federated / name for name in ("rounds.json", "run.json", "model.pt")]
    assert len(at_server) > 5
    named = [path for path in at_server if b"SYN_00000" in path.read_bytes()]
    assert named == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--site", "a=nowhere.json"], "Give NAME=FILE"),
        ([], "Give at least two"),
        (["--export", "--", "--loss", "{x: 1}"], "Write it into the bundle's config"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, arguments, words):
    from typer.testing import CliRunner

    from ctan_monai.apps.main import app

    done = CliRunner().invoke(app, ["federate", "--bundle", str(HAM10000), "--out", str(tmp_path / "out"), *arguments])
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())


def test_a_job_for_real_sites_names_no_file_of_this_machine(tmp_path):
    from typer.testing import CliRunner

    from ctan_monai.apps.main import app

    arguments = [
        "federate",
        "--bundle",
        str(HAM10000),
        "--out",
        str(tmp_path / "job"),
        "--export",
        "--timeout",
        "60",
        "--server-dir",
        "/data/federation",
        "--",
        "--epochs",
        "4",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    texts = {path.name: path.read_text() for path in (tmp_path / "job").rglob("*.json")}
    assert {"config_fed_server.json", "config_fed_client.json", "meta.json"} <= set(texts)
    assert "ctan_monai.federated.site_loop" in texts["config_fed_client.json"]
    (controller,) = (entry["args"] for entry in json.loads(texts["config_fed_server.json"])["workflows"])
    assert (controller["timeout_s"], controller["output_dir"]) == (60, "/data/federation")
    assert str(Path.home()) not in "".join(texts.values())
    assert not list((tmp_path / "job").rglob("*.py"))
