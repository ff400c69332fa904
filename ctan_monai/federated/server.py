"""The server's part: ask sites to train, average what they learned, keep the network that did best at all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.workflows.model_controller import ModelController

from ctan_monai.engines.atomic import as_json, write_json
from ctan_monai.engines.run_record import MODEL_FILE, RUN_FILE
from ctan_monai.engines.torch_file import save_atomic
from ctan_monai.federated.average import Array, Update, average
from ctan_monai.federated.files import ASK, INITIAL, MEASURE, ROUNDS_FILE, TRAIN

_SCORE = "selection"


class AverageByTask(ModelController):  # type: ignore[misc]  # nvflare has no types
    """Federated averaging in which a task is averaged over those sites that have labels of it.

    In ``output_dir``: model.pt (the network with the best mean selection score over sites) and run.json, with which
    the bundle evaluates and predicts as with a run of its own, and rounds.json with each site's figures.

    Args:
        rounds: how often sites train.
        min_sites: sites that must take part.
        output_dir: None: ``ctan_monai`` in the job's folder at the server.
    """

    def __init__(self, rounds: int = 3, min_sites: int = 2, output_dir: str | None = None) -> None:
        super().__init__()
        self.rounds, self.min_sites, self.output_dir = rounds, min_sites, output_dir

    def run(self) -> None:
        """Run all rounds."""
        folder = Path(self.output_dir or str(Path(self.get_run_dir()) / "ctan_monai"))
        folder.mkdir(parents=True, exist_ok=True)
        sites = sorted(self.sample_clients(self.min_sites))
        first = self._ask(INITIAL, {"none": np.zeros(1, np.float32)}, 0, sites[:1])[0]
        weights: dict[str, Array] = dict(first.params)
        write_json(first.meta["description"], folder / RUN_FILE)
        history: list[dict[str, Any]] = []
        best = -math.inf
        for number in range(self.rounds + 1):
            last = number == self.rounds
            answers = self._ask(MEASURE if last else TRAIN, weights, number, sites)
            found = {_site_of(answer): answer.metrics for answer in answers}
            score = mean_score(list(found.values()))
            history.append({"round": number, "score": score, "sites": found})
            if score >= best:
                best = score
                save_atomic({name: torch.as_tensor(value) for name, value in weights.items()}, folder / MODEL_FILE)
            write_json({"best_score": best, "rounds": as_json(history)}, folder / ROUNDS_FILE)
            self.info(f"network after {number} rounds: mean selection score {score:.4f}")
            if not last:
                weights = average(weights, [_update_of(answer) for answer in answers])

    def _ask(self, what: str, weights: Mapping[str, Array], number: int, sites: Sequence[str]) -> list[Any]:
        request = FLModel(ParamsType.FULL, dict(weights), current_round=number, meta={ASK: what})
        request.total_rounds = self.rounds
        answers: list[Any] = self.send_model_and_wait(targets=list(sites), data=request)
        if len(answers) < len(sites):
            raise RuntimeError(f"{len(sites) - len(answers)} of {len(sites)} sites did not answer in round {number}")
        return answers


def mean_score(metrics: Sequence[Mapping[str, float]]) -> float:
    """Return the mean selection score over the sites that know theirs; 0 where none does."""
    known = [float(found[_SCORE]) for found in metrics if not math.isnan(float(found.get(_SCORE, math.nan)))]
    return sum(known) / len(known) if known else 0.0


def _site_of(answer: Any) -> str:
    return str(answer.meta["client_name"])


def _update_of(answer: Any) -> Update:
    return Update(_site_of(answer), answer.params, answer.meta["counts"])
