"""The job that NVFLARE runs: simulated on one machine, or as a folder for a real federation."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctan_monai.config_values import refuse_code
from ctan_monai.engines.atomic import write_json
from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.federated.files import ROUNDS_FILE, read_knobs

ALLOWED = ["nvflare.", "ctan_monai.federated."]  # what a job may name; a real server's resources.json lists it too
_MISSING = "pip install 'ctan-monai[fl]'"


def make_job(
    bundle: str | Path,
    site_files: Mapping[str, str | Path] | None,
    knobs: Mapping[str, Any],
    rounds: int,
    epochs: int,
    output_dir: str | Path | None = None,
    min_sites: int = 2,
) -> Any:
    """Return NVFLARE's job.

    Args:
        bundle: its folder, the same at all sites.
        site_files: each site's file of its own knobs; None: a site finds it through its environment.
        knobs: that all sites share.
        rounds: of averaging.
        epochs: of a site in a round.
        output_dir: for the server's files; None: in the job's folder.
        min_sites: that must take part.

    Raises:
        ConfigError: NVFLARE is not installed, or a knob is a dictionary or an expression.
    """
    try:
        from nvflare.app_common.executors.client_api_executor import ClientAPIExecutor
        from nvflare.job_config.api import FedJob
    except ImportError as error:
        raise ConfigError("nvflare", f"it cannot be imported ({error}).", f"Run {_MISSING}.") from error
    from ctan_monai.federated.server import AverageByTask

    job = FedJob(name="ctan_monai", min_clients=min_sites, fail_fast=True)
    job.set_app_packages(["ctan_monai"])  # or NVFLARE puts a copy of some of its files before it
    job.to_server(AverageByTask(rounds, min_sites, None if output_dir is None else str(output_dir)))
    shared = ["--bundle", str(bundle), "--epochs", str(epochs)]
    for name, value in knobs.items():
        refuse_code(value, f"--{name}")
        text = json.dumps(value)
        if "{" in text:  # NVFLARE's configs take it for a variable
            raise ConfigError(f"--{name}", f"{text} was found.", "Write it into the bundle's config, at every site.")
        shared += ["--knob", f"{name}={text}"]
    files: dict[str, str | Path | None] = {"": None} if site_files is None else dict(site_files)
    python = "python3" if site_files is None else sys.executable
    for site, file in files.items():
        command = [python, "-u", "-m", "ctan_monai.federated.site_loop", *shared]
        command += [] if file is None else ["--site-file", str(file)]
        executor = ClientAPIExecutor("external_process", command, params_exchange_format="numpy")
        if site:
            job.to(executor, site)
        else:
            job.to_clients(executor)
    return job


def simulate(
    bundle: str | Path, site_files: Mapping[str, Path], knobs: Mapping[str, Any], rounds: int, epochs: int, out: Path
) -> None:
    """Run all sites on this machine, each in processes of its own.

    A site whose file has no ``output_dir`` keeps its files in ``<out>/sites/<name>``; NVFLARE's own files and logs are
    in ``<out>/nvflare``.

    Args:
        bundle: its folder.
        site_files: each site's file of its own knobs.
        knobs: that all sites share.
        rounds: of averaging.
        epochs: of a site in a round.
        out: a new folder.

    Raises:
        ConfigError: NVFLARE is not installed, or a file is no site's.
        CheckpointError: the job failed.
    """
    out = out.resolve()
    own: dict[str, Path] = {}
    for name, file in site_files.items():
        folder = out / "sites" / name
        folder.mkdir(parents=True, exist_ok=True)
        own[name] = folder / "site.json"
        write_json({"output_dir": str(folder / "run"), **read_knobs(file)}, own[name])
    job = make_job(Path(bundle).resolve(), own, knobs, rounds, epochs, out, len(own))
    work = out / "nvflare"
    (work / "local").mkdir(parents=True)
    write_json({"format_version": 2, "class_allow_list": ALLOWED}, work / "local" / "resources.json")
    job.simulator_run(str(work), log_config="concise")
    try:
        done = len(json.loads((out / ROUNDS_FILE).read_text(encoding="utf-8"))["rounds"])
    except (OSError, ValueError, KeyError):
        done = 0
    if done <= rounds:
        found = f"{done} of {rounds + 1} rounds came to an end."
        raise CheckpointError(out, found, f"Look for the reason in {work}: log.txt of each site.")
