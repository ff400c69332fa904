"""The server: request training from sites, average their updates, keep the best network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.workflows.model_controller import ModelController

from ctan_monai.engines.runs.run_record import MODEL_FILE, RUN_FILE
from ctan_monai.engines.runs.torch_file import load_checked, save_atomic
from ctan_monai.errors import CheckpointError
from ctan_monai.federated.average import Array, Update, average
from ctan_monai.federated.files import ASK, INITIAL, MEASURE, ROUNDS_FILE, RUN_RECORD, STATE_FILE, STOPPED, TRAIN
from ctan_monai.files.json_files import as_json, read_json, write_json

_SCORE = "selection"


class AverageByTask(ModelController):  # type: ignore[misc]  # nvflare has no types
    """Federated averaging in which a task is averaged over those sites that have labels of it.

    In ``output_dir``: model.pt (the network with the best mean selection score over sites) and run.json, with which
    the bundle evaluates and predicts as with a run of its own, and rounds.json with each site's metrics; last.pt, from
    which the next job with this folder goes on after the last complete round.

    Args:
        rounds: how often sites train.
        min_sites: sites that must take part.
        output_dir: None: ``ctan_monai`` in the job's folder at the server, which is another for each job.
        timeout_s: how long a site may take to answer in a round, in seconds; 0: as long as it likes.
    """

    def __init__(self, rounds: int = 3, min_sites: int = 2, output_dir: str | None = None, timeout_s: int = 0) -> None:
        super().__init__()
        self.rounds, self.min_sites, self.output_dir, self.timeout_s = rounds, min_sites, output_dir, timeout_s
        self._record: dict[str, Any] | None = None

    def run(self) -> None:
        """Run all rounds, or the remaining ones of an earlier job."""
        folder = Path(self.output_dir or str(Path(self.get_run_dir()) / "ctan_monai"))
        folder.mkdir(parents=True, exist_ok=True)
        weights, history = read_state(folder)
        try:
            self._rounds(folder, weights, history)
        except _SilentError as error:
            self._note(folder, history, str(error))
            raise

    def _rounds(self, folder: Path, weights: dict[str, Array], history: list[dict[str, Any]]) -> None:
        sites = sorted(self.sample_clients(self.min_sites))
        if not weights:
            first = self._ask(INITIAL, {"none": np.zeros(1, np.float32)}, 0, sites[:1])[0]
            weights = dict(first.params)
            write_json(first.meta["description"], folder / RUN_FILE)
        self._record = read_json(folder / RUN_FILE)
        for number in range(len(history), self.rounds + 1):
            last = number == self.rounds
            answers = self._ask(MEASURE if last else TRAIN, weights, number, sites)
            found = {_site_of(answer): answer.metrics for answer in answers}
            score = mean_score(list(found.values()))
            if score >= max((entry["score"] for entry in history), default=-math.inf):
                save_atomic(_tensors(weights), folder / MODEL_FILE)
            history.append({"round": number, "score": score, "sites": found})
            self._note(folder, history)
            self.info(f"network after {number} rounds: mean selection score {score:.4f}")
            if not last:
                weights = average(weights, [_update_of(answer) for answer in answers])
                save_atomic({"round": number + 1, "weights": _tensors(weights)}, folder / STATE_FILE)

    def _note(self, folder: Path, history: Sequence[Mapping[str, Any]], stopped: str | None = None) -> None:
        best = max((entry["score"] for entry in history), default=None)
        more = {} if stopped is None else {STOPPED: stopped}
        write_json({"best_score": best, "rounds": as_json(history), **more}, folder / ROUNDS_FILE)

    def _ask(self, what: str, weights: Mapping[str, Array], number: int, sites: Sequence[str]) -> list[Any]:
        meta = {ASK: what, RUN_RECORD: self._record}
        request = FLModel(ParamsType.FULL, dict(weights), current_round=number, meta=meta)
        request.total_rounds = self.rounds
        answers: list[Any] = self.send_model_and_wait(targets=list(sites), data=request, timeout=self.timeout_s)
        silent = sorted(set(sites) - {_site_of(answer) for answer in answers})
        if failed := sorted(set(silent) & self._current_failed_clients):  # NVFLARE then asks nobody any further
            raise _SilentError(f"{', '.join(failed)} failed in round {number}")
        if silent:
            limit = f" within {self.timeout_s} s" if self.timeout_s else ""
            raise _SilentError(f"{', '.join(silent)} did not answer in round {number}{limit}")
        return answers


class _SilentError(RuntimeError):
    """Error of a site that did not answer, or failed."""


def read_state(folder: Path) -> tuple[dict[str, Array], list[dict[str, Any]]]:
    """Read the state of an earlier job: weights and finished rounds; empty without one.

    Raises:
        CheckpointError: the two do not fit, or cannot be read.
    """
    if not (folder / STATE_FILE).is_file():
        return {}, []
    state, rounds = load_checked(folder / STATE_FILE), (read_json(folder / ROUNDS_FILE) or {}).get("rounds", [])
    if len(rounds) < state["round"]:
        found = f"{ROUNDS_FILE} has {len(rounds)} rounds, {STATE_FILE} is of {state['round']}."
        raise CheckpointError(folder, found, "Restore both from one copy, or start in a new folder.")
    return {name: tensor.numpy() for name, tensor in state["weights"].items()}, rounds[: state["round"]]


def _tensors(weights: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(value) for name, value in weights.items()}


def mean_score(metrics: Sequence[Mapping[str, float]]) -> float:
    """Return the mean selection score over the sites that know theirs; 0 where none does."""
    known = [float(found[_SCORE]) for found in metrics if not math.isnan(float(found.get(_SCORE, math.nan)))]
    return sum(known) / len(known) if known else 0.0


def _site_of(answer: Any) -> str:
    return str(answer.meta["client_name"])


def _update_of(answer: Any) -> Update:
    return Update(_site_of(answer), answer.params, answer.meta["counts"])
