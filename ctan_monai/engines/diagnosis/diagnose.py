"""Diagnose which parts of a run's network have an effect."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctan_monai.engines.diagnosis.donors import at_same_position, choose_donors
from ctan_monai.engines.diagnosis.effects import Effects, judge
from ctan_monai.engines.diagnosis.experiments import OTHER, OWN, Experiment, PairedNetwork, plan_experiments
from ctan_monai.engines.diagnosis.gradients import shared_gradients
from ctan_monai.engines.diagnosis.run_data import RunData, data_of_run, training_of_run
from ctan_monai.engines.diagnosis.survey import Survey
from ctan_monai.engines.handlers.metrics_handler import MultiTaskMetrics
from ctan_monai.engines.runs.run_network import network_of_run
from ctan_monai.engines.runs.run_record import MODEL_FILE
from ctan_monai.errors import ConfigError
from ctan_monai.files.json_files import as_json
from ctan_monai.metrics.main_metric import main_metric_for
from ctan_monai.metrics.statistics.bootstrap import DRAWS
from ctan_monai.metrics.variance_share import variance_share
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.networks.parts import KINDS, Part
from ctan_monai.transforms.batch import plain

_logger = logging.getLogger(__name__)
Track = Callable[[Iterable[Any], str, int], Iterable[Any]]
_LOGITS_BYTES = 512 * 2**20  # of all experiments that are made at once
_POSITIONS = 2048  # of logits that are kept for variance shares


@dataclass(frozen=True)
class Options:
    """Options of a diagnosis.

    Args:
        split: 'test' or 'validation'.
        parts: kinds of parts (`networks.parts.KINDS`); empty: all.
        cases: at most so many, drawn at random; 0: all.
        every: of a volume that a network reads slice by slice, only each slice of this number.
        batches: training batches whose gradients are compared.
        seed: of the choice of cases, of the donors, the batches and the bootstrap.
        draws: of the bootstrap.
        overrides: entries of the run's config that get other values, such as cache_dir.
    """

    split: str = "test"
    parts: tuple[str, ...] = ()
    cases: int = 32
    every: int = 1
    batches: int = 4
    seed: int = 0
    draws: int = DRAWS
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the kinds of parts."""
        if unknown := sorted(set(self.parts) - set(KINDS)):
            raise ConfigError("--parts", f"{unknown} is unknown.", f"Use some of {list(KINDS)}.")

    def wants(self, part: Part) -> bool:
        """Tell whether a part is included."""
        return not self.parts or part.kind in self.parts


@dataclass
class Tried:
    """Intermediate results of an experiment: measured cases, and logits for the variance shares, by task."""

    metrics: MultiTaskMetrics
    changes: dict[str, list[Tensor]] = field(default_factory=dict)


def diagnose_run(
    run_dir: str | Path, options: Options, device: str | torch.device = "cpu", track: Track | None = None
) -> dict[str, Any]:
    """Diagnose a run's network on a split of its data: exchange and measure every part.

    Args:
        run_dir: the run's folder, with model.pt, run.json, settings.json and configs.
        options: what is looked at.
        device: where to compute, in 32 bits.
        track: shows progress: gets what is gone through, a title, and how many there are.

    Returns:
        What diagnosis.json holds; ``applies`` is False where tasks share nothing.

    Raises:
        CheckpointError: the run's network or data cannot be read.
        ConfigError: an option is unknown.
        DataError: there are fewer than two cases.
    """
    folder = Path(run_dir)
    network = network_of_run(folder).to(device)
    about: dict[str, Any] = {
        **fingerprint(folder, options),
        "method": network.method,
        "encoder": network.settings.get("encoder"),
        "main": {task.name: _about_metric(main_metric_for(task)) for task in network.tasks},
    }
    parts = [part for part in network.parts() if options.wants(part)]
    if not parts:
        return {**about, "applies": False}
    data = data_of_run(folder, options.split, network.tasks, options.overrides)
    diagnosis = Diagnosis(network, parts, data, options, device, track or (lambda entries, *_: entries))
    found = {**about, "applies": True, **diagnosis.run()}
    if any(part.kind == "shared" for part in parts) and options.batches > 0:
        found["gradients"] = _gradients(folder, network, options, device)
    return found


def fingerprint(folder: Path, options: Options) -> dict[str, Any]:
    """Return the fingerprint of a diagnosis: of the weights and the options.

    Raises:
        CheckpointError: there is no model.pt.
    """
    path = folder / MODEL_FILE
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    return {"model_sha256": digest, "options": as_json(asdict(options))}


class Diagnosis:
    """Diagnosis of one network: measure features in one pass over a split, exchange parts in another."""

    def __init__(
        self,
        network: MultiTaskNetwork,
        parts: Sequence[Part],
        data: RunData,
        options: Options,
        device: str | torch.device,
        track: Track,
    ) -> None:
        self.network, self.parts, self.data = network, parts, data
        self.options, self.device, self.track = options, device, track
        self.experiments = plan_experiments(parts)
        self._own = Tried(data.metrics())
        self._tried = [Tried(data.metrics()) for _ in self.experiments]
        self._grid: dict[str, list[int]] = {}

    @torch.inference_mode()
    def run(self) -> dict[str, Any]:
        """Run the diagnosis."""
        chosen = self.data.choose(self.options.cases, self.options.seed)
        groups = [self.data.groups[self.data.cases[place]] for place in chosen]
        donors = [chosen[place] for place in choose_donors(groups, self.options.seed)]
        survey = Survey(self.network, self.parts)
        loader = self.data.loader(chosen)
        for batch in self.track(loader, "measuring", len(loader)):
            self.data.inferer(plain(self._prepared(batch)[0]), survey)
        pairs = zip(loader, self.data.loader(donors), strict=True)
        for batch, donor in self.track(pairs, "exchanging", len(loader)):
            self._exchange(batch, self._prepared(donor)[0], survey)
        return {
            "cases": len(chosen),
            "clusters": len(set(groups)),
            **self._effects(),
            "features": survey.feature_table(),
            "masks": survey.mask_table(),
        }

    def _prepared(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Prepare image and targets; of a volume that is read slice by slice, select every n-th slice."""
        image, targets = self.data.prepare(batch, self.device)
        if self.options.every > 1 and (self.network.spatial_dims, image.ndim) == (2, 5):
            few = slice(min(self.options.every, image.shape[-1]) // 2, None, self.options.every)
            targets = {name: value[..., few] if value.ndim == 5 else value for name, value in targets.items()}
            return image[..., few], targets
        return image, targets

    def _exchange(self, batch: Any, donor: Tensor, survey: Survey) -> None:
        image, targets = self._prepared(batch)
        own = plain(image)
        pair = torch.cat([own, at_same_position(plain(donor), own.shape[2:])], dim=1)  # (B, 2 C, *S)
        channels = sum(task.channels for task in self.network.tasks)
        at_once = max(1, _LOGITS_BYTES // (4 * channels * own[:, 0].numel()))
        for start in range(0, len(self.experiments), at_once):
            some = self.experiments[start : start + at_once]
            answers = self.data.inferer(pair, PairedNetwork(self.network, some, survey.means))
            logits = {task.name: answers[f"{OWN}/{task.name}"] for task in self.network.tasks}
            if start == 0:
                self._note(self._own, logits, None, batch, image, targets)
            for index, tried in enumerate(some):
                found = {task.name: answers[f"{index}/{task.name}"] for task in self.network.tasks}
                change = logits if tried.replacement == OTHER else None
                self._note(self._tried[start + index], found, change, batch, image, targets)

    def _note(
        self,
        tried: Tried,
        logits: dict[str, Tensor],
        own: dict[str, Tensor] | None,
        batch: Any,
        image: Tensor,
        targets: dict[str, Tensor],
    ) -> None:
        """Measure the predictions, and keep some positions of the logits, or of their change against ``own``."""
        tried.metrics.update(batch, {"image": image, "label": targets, "pred": logits})
        if own is None and tried is not self._own:
            return
        for name, found in logits.items():
            limit = int(_POSITIONS ** (1 / max(1, found.ndim - 2)))
            grid = self._grid.setdefault(name, [min(size, limit) for size in found.shape[2:]])
            kept = found if own is None else found - own[name]
            tried.changes.setdefault(name, []).append(at_same_position(kept, grid).cpu())

    def _effects(self) -> dict[str, Any]:
        rows, metrics = self._own.metrics.rows(), self._own.metrics.compute()
        main = [main_metric_for(task) for task in self.network.tasks]
        effects = Effects(rows, metrics, self.data.groups, main, self.options.draws, self.options.seed)
        own = {name: torch.cat(found) for name, found in self._own.changes.items()}
        found = []
        for experiment, tried in zip(self.experiments, self._tried, strict=True):
            changed = effects.of(tried.metrics.rows(), tried.metrics.compute())
            verdicts = {
                task.name: judge(changed[metric.key], metric.higher_is_better)
                for task, metric in zip(self.network.tasks, main, strict=True)
            }
            shares = {name: variance_share(torch.cat(part), own[name]) for name, part in tried.changes.items()}
            about = _about_experiment(experiment)
            found.append({**about, "answers": verdicts, "variance_share": shares, "metrics": changed})
        return {"metrics": metrics, "experiments": found, "per_case": self._case_rows(rows)}

    def _case_rows(self, own: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the per-case metrics, as trained and in each experiment."""
        lines = [{"part": "none", "replaced by": "nothing", **row} for row in own]
        for experiment, tried in zip(self.experiments, self._tried, strict=True):
            lines += [
                {"part": experiment.part, "replaced by": experiment.replacement, **row} for row in tried.metrics.rows()
            ]
        return lines


def _gradients(folder: Path, network: MultiTaskNetwork, options: Options, device: Any) -> list[dict[str, Any]]:
    loader, prepare, inferer, loss = training_of_run(folder, network.tasks, options.seed, options.overrides)
    batches = (prepare(batch, device) for batch in itertools.islice(loader, options.batches))
    pairs = ((plain(image), targets) for image, targets in batches)
    return shared_gradients(network, loss.to(device), pairs, inferer)


def _about_metric(metric: Any) -> dict[str, Any]:
    names = ("key", "label", "unit", "factor", "higher_is_better")
    return {name: getattr(metric, name) for name in names}


def _about_experiment(experiment: Experiment) -> dict[str, Any]:
    return {
        "part": experiment.part,
        "kind": experiment.kind,
        "task": experiment.task,
        "replacement": experiment.replacement,
    }
