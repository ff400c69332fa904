"""Promise: scores of OpenKBP predictions equal the official evaluator's, in a tenth of its time.

    OMP_NUM_THREADS=1 python benchmarks/score_openkbp.py --dataset_dir open-kbp/provided-data/train-pats \
        --open_kbp open-kbp [--patients 16] [--rounds 5]

Predictions are the delivered doses with noise of 1 Gy, written as the challenge asks. Both sides read the same files
and score all patients, in turns, by this process's CPU time. ``--open_kbp`` is a clone of github.com/ababier/open-kbp,
whose evaluator needs pandas, tqdm and more-itertools; without it only this package is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from ctan_monai.data.datasets.openkbp.sparse import read_sparse, write_sparse
from ctan_monai.metrics.openkbp_folder import match_patients, score_files, scores_as_json

Scores = tuple[float, float]


def write_predictions(patients: list[Path], folder: Path) -> None:
    """Write a prediction for each patient: its dose with noise of 1 Gy where there is dose."""
    random = np.random.default_rng(0)
    for patient in patients:
        dose = read_sparse(patient / "dose.csv")
        noisy = np.where(dose > 0, dose + random.standard_normal(dose.shape, dtype=np.float32), 0.0).astype(np.float32)
        write_sparse(np.maximum(noisy, 0.0), folder / f"{patient.name}.csv")


def ours(reference: Path, predictions: Path) -> Scores:
    """Score as ``ctan-monai score openkbp`` does."""
    matching = match_patients(reference, predictions)
    found = scores_as_json({name: score_files(name, *pair) for name, pair in matching.pairs.items()}, matching)
    return found["dose_score"], found["dvh_score"]


def official(reference: Path, predictions: Path) -> Scores:
    """Score as the challenge's main.py does."""
    from provided_code.data_loader import DataLoader
    from provided_code.dose_evaluation_class import DoseEvaluator

    found = sorted(predictions.glob("*.csv"))
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():  # progress bars, pandas' remarks
        warnings.simplefilter("ignore")
        evaluator = DoseEvaluator(DataLoader([reference / path.stem for path in found]), DataLoader(found))
        evaluator.evaluate()
        dose, dvh = evaluator.get_scores()
    return float(dose), float(dvh)


def main() -> None:
    """Time both and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", type=Path, required=True, help="folder of patients' folders")
    parser.add_argument("--open_kbp", type=Path, help="clone of the challenge's repository")
    parser.add_argument("--patients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ways: dict[str, Callable[[Path, Path], Scores]] = {"ctan_monai": ours}
    if options.open_kbp:
        package = ModuleType("provided_code")  # not by its __init__, which imports keras for the challenge's network
        package.__path__ = [str(options.open_kbp / "provided_code")]
        sys.modules["provided_code"] = package
        ways["official evaluator"] = official
    patients = sorted(path for path in options.dataset_dir.iterdir() if (path / "dose.csv").is_file())
    patients = patients[: options.patients]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    scores: dict[str, Scores] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_predictions(patients, Path(folder))
        for number in range(options.rounds + 1):
            for name, way in ways.items():
                start = time.process_time()
                scores[name] = way(options.dataset_dir, Path(folder))
                if number:  # the first round imports
                    seconds[name].append(time.process_time() - start)
    print(f"{len(patients)} patients, {options.rounds} rounds; CPU s: median (smallest to largest)")
    for name, found in seconds.items():
        dose, dvh = scores[name]
        spread = f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
        print(f"{name}: {spread}; dose score {dose:.12f}, DVH score {dvh:.12f} Gy")
    if options.open_kbp:
        ratio = statistics.median(
            b / a for a, b in zip(seconds["ctan_monai"], seconds["official evaluator"], strict=True)
        )
        print(f"official / ctan_monai: {ratio:.1f}, median over rounds")


if __name__ == "__main__":
    main()
