"""The NVFLARE job: simulated on one machine, or as a folder for a federation."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from ctan_monai.config_values import refuse_code
from ctan_monai.engines.runs.run_record import differences
from ctan_monai.errors import CheckpointError, ConfigError, install
from ctan_monai.federated.files import RECORD_FILE, ROUNDS_FILE, STOPPED, read_options
from ctan_monai.files.json_files import as_json, read_json, write_json

ALLOWED = ["nvflare.", "ctan_monai.federated."]  # what a job may name; a real server's resources.json lists it too
_MISSING = install("fl", "nvflare")
_GRACE_S = 10.0  # for a site's process that is told to end: it keeps what it needs as a whole, after every round


def make_job(
    bundle: str | Path,
    site_files: Mapping[str, str | Path] | None,
    options: Mapping[str, Any],
    rounds: int,
    epochs: int,
    output_dir: str | Path | None = None,
    min_sites: int = 2,
    timeout_s: int = 0,
) -> Any:
    """Create the NVFLARE job.

    Args:
        bundle: its folder, the same at all sites.
        site_files: each site's file of its own options; None: a site finds it through its environment.
        options: that all sites share.
        rounds: of averaging.
        epochs: of a site in a round.
        output_dir: for the server's files; None: in the job's folder. What an earlier job left there is continued.
        min_sites: that must take part.
        timeout_s: how long a site may take to answer in a round, in seconds; 0: as long as it likes.

    Raises:
        ConfigError: NVFLARE is not installed, or an option is a dictionary or an expression.
    """
    try:
        from nvflare.app_common.executors.client_api_executor import ClientAPIExecutor
        from nvflare.job_config.api import FedJob
    except ImportError as error:
        raise ConfigError("nvflare", f"it cannot be imported ({error}).", f"Run {_MISSING}.") from error
    from ctan_monai.federated.server import AverageByTask

    job = FedJob(name="ctan_monai", min_clients=min_sites, fail_fast=True)
    job.set_app_packages(["ctan_monai"])  # or NVFLARE puts a copy of some of its files before it
    job.to_server(AverageByTask(rounds, min_sites, None if output_dir is None else str(output_dir), timeout_s))
    shared = ["--bundle", str(bundle), "--epochs", str(epochs)]
    for name, value in options.items():
        refuse_code(value, f"--{name}")
        text = json.dumps(value)
        if "{" in text:  # NVFLARE's configs take it for a variable
            raise ConfigError(f"--{name}", f"{text} was found.", "Write it into the bundle's config, at every site.")
        shared += ["--option", f"{name}={text}"]
    files: dict[str, str | Path | None] = {"": None} if site_files is None else dict(site_files)
    python = "python3" if site_files is None else sys.executable
    for site, file in files.items():
        command = [python, "-u", "-m", "ctan_monai.federated.site_loop", *shared]
        command += [] if file is None else ["--site-file", str(file)]
        executor = ClientAPIExecutor(
            "external_process", command, params_exchange_format="numpy", stop_grace_period=_GRACE_S
        )
        if site:
            job.to(executor, site)
        else:
            job.to_clients(executor)
    return job


def simulate(
    bundle: str | Path,
    site_files: Mapping[str, Path],
    options: Mapping[str, Any],
    rounds: int,
    epochs: int,
    out: Path,
    timeout_s: int = 0,
) -> None:
    """Simulate all sites on this machine, each in its own processes.

    A site whose file has no ``output_dir`` keeps its files in ``<out>/sites/<name>``; NVFLARE's own files and logs are
    in ``<out>/nvflare``.

    Args:
        bundle: its folder.
        site_files: each site's file of its own options.
        options: that all sites share.
        rounds: of averaging.
        epochs: of a site in a round.
        out: a new folder, or that of the same federation, which goes on after its last complete round.
        timeout_s: how long a site may take to answer in a round, in seconds; 0: as long as it likes.

    Raises:
        ConfigError: NVFLARE is not installed, a file is no site's, or the folder is of another federation.
        CheckpointError: the job failed; the message says in which round, and why if the server knows.
    """
    out = out.resolve()
    _check_same(
        out, {"bundle": Path(bundle).resolve().name, "sites": sorted(site_files), "options": options, "epochs": epochs}
    )
    own: dict[str, Path] = {}
    for name, file in site_files.items():
        folder = out / "sites" / name
        folder.mkdir(parents=True, exist_ok=True)
        own[name] = folder / "site.json"
        write_json({"output_dir": str(folder / "run"), **read_options(file)}, own[name])
    job = make_job(Path(bundle).resolve(), own, options, rounds, epochs, out, len(own), timeout_s)
    work = out / "nvflare"
    if work.exists():
        work.rename(next(place for number in count(1) if not (place := out / f"nvflare.{number}").exists()))
    (work / "local").mkdir(parents=True)
    write_json({"format_version": 2, "class_allow_list": ALLOWED}, work / "local" / "resources.json")
    job.simulator_run(str(work), log_config="concise")
    left = read_json(out / ROUNDS_FILE) or {}
    done = len(left.get("rounds", []))
    if done <= rounds:
        found = f"{done} of {rounds + 1} rounds came to an end; {left.get(STOPPED, 'the job failed')}."
        remedy = f"Look for the reason in {work}: log.txt of each site; then give the same command with --resume."
        raise CheckpointError(out, found, remedy)


def _check_same(out: Path, record: Mapping[str, Any]) -> None:
    now, path = as_json(record), out / RECORD_FILE
    if found := differences(read_json(path) or now, now):
        raise ConfigError(
            "--out", f"{out} is of another federation: {'; '.join(found)}.", "Give the same, or a new folder."
        )
    write_json(now, path)
