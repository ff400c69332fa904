"""A run's trained network, built from nothing but the run's folder."""

from __future__ import annotations

import json
from pathlib import Path

from ctan_monai.engines.runs.run_record import RUN_FILE, load_best
from ctan_monai.errors import CheckpointError
from ctan_monai.networks import MultiTaskNetwork, create_network
from ctan_monai.networks.forms import complete_record
from ctan_monai.tasks import task_from


def network_of_run(run_dir: str | Path) -> MultiTaskNetwork:
    """Build the network that run.json describes, and load model.pt.

    Args:
        run_dir: the run's folder.

    Returns:
        The network, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: run.json or model.pt is missing, cannot be read, or the two do not fit.
        ConfigError: run.json describes a network that this version does not know.
    """
    path = Path(run_dir) / RUN_FILE
    remedy = "Name the folder of a run, which holds model.pt and run.json."
    try:
        record = complete_record(json.loads(path.read_text(encoding="utf-8")))
        network = create_network(
            record["method"],
            [task_from(entry) for entry in record["tasks"]],
            record["encoder"],
            record["spatial_dims"],
            record["in_channels"],
            encoder_options=record["encoder_options"],
            decoder_options=record["decoder_options"],
            network_options={record["method"]: record["network_options"]},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(path, f"no network can be built from it ({error!r}).", remedy) from error
    load_best(network, run_dir)
    return network.eval()
