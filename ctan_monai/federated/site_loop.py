"""The loop of a site: answer the server until it has no more rounds."""

from __future__ import annotations

import argparse
import json
import logging
import os
from typing import Any

from ctan_monai.config_values import refuse_code
from ctan_monai.errors import ConfigError, install_excepthook
from ctan_monai.federated.files import ASK, INITIAL, MEASURE, RUN_RECORD, read_options
from ctan_monai.federated.site import Site

SITE_FILE = "CTAN_SITE_FILE"  # environment variable with the path of a site's own options
_logger = logging.getLogger(__name__)


def main() -> None:
    """Run a site of an NVFLARE job."""
    import nvflare.client as flare

    install_excepthook()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--option", action="append", default=[], help="NAME=JSON, of those that all sites share")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--site-file", default=os.environ.get(SITE_FILE), help="JSON file of this site's own options")
    arguments = parser.parse_args()
    if not arguments.site_file:
        remedy = f"Set {SITE_FILE} in the client's environment to a JSON file with dataset_dir, cache_dir, output_dir."
        raise ConfigError(SITE_FILE, "this site does not say where its data are.", remedy)
    flare.init()
    shared = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in arguments.option)}
    refuse_code(shared, "--option")  # they come from the server
    options = {**shared, **read_options(arguments.site_file)}
    site = None
    while flare.is_running():
        request = flare.receive()
        if request is None:
            break
        if site is None:  # the first request says which network the server has, if it has one
            options |= {"run_record": request.meta.get(RUN_RECORD)}
            refuse_code(options["run_record"], "run.json")
            site = Site(flare.get_site_name(), arguments.bundle, options, arguments.epochs)
        flare.send(answer(site, request.meta[ASK], request.params, request.current_round))


def answer(site: Site, asked: str, weights: Any, number: int | None = None) -> Any:
    """Handle the server's request of a round; return an `FLModel`."""
    from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

    if asked == INITIAL:
        return FLModel(ParamsType.FULL, site.weights(), meta={"description": site.description()})
    metrics = site.measure(weights)
    if asked == MEASURE:
        return FLModel(metrics=metrics)
    update = site.train(weights, number)
    counts = {name: update.counts[name] for name in update.weights}
    return FLModel(ParamsType.FULL, dict(update.weights), metrics=metrics, meta={"counts": counts})


if __name__ == "__main__":
    main()
