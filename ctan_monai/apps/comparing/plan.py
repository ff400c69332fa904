"""The plan of a comparison: rows of the table, seeds, and the two commands of each run."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ctan_monai.engines.runs.run_record import RUN_FILE, differences
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.files.json_files import read_json, write_json
from ctan_monai.networks.forms import complete_record
from ctan_monai.report.compare_files import PLAN_FILE, RUNS_FOLDER, fold_folder

STEPS = ("training", "evaluating")
OWN_OPTIONS = ("method", "weighting", "seed", "output_dir", "resume", "bundle_root", "evaluation_dir", "config_file")
TRACKING = ("tracking", "experiment_name")  # of `monai.bundle run`, not of a config
_FREE_TO_GROW = ("rows", "seeds", "candidate", "form")


@dataclass(frozen=True)
class Row:
    """A row of the table: method, weighting and preset.

    Args:
        name: of the line and of its folder.
        method: architecture.
        weighting: of the tasks' losses; None where the tasks share nothing, so that none applies.
        preset: name of an ablation, None without one.
        overrides: what the preset changes in the bundle's config, as on the command line.
    """

    name: str
    method: str
    weighting: str | None = None
    preset: str | None = None
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """One training with its evaluation.

    Args:
        row: the row that it belongs to.
        seed: of everything random in it.
        folder: holds the run's own folder ``run``, and the commands, logs and costs of its steps.
        commands: arguments by step.
        fold: of a cross-validation, None without one.
    """

    row: Row
    seed: int
    folder: Path
    commands: Mapping[str, tuple[str, ...]]
    fold: int | None = None

    @property
    def name(self) -> str:
        """Name of the run for people."""
        return f"{self.row.name}, {self.column}"

    @property
    def column(self) -> str:
        """Which of the row's runs it is."""
        return f"seed {self.seed}" + ("" if self.fold is None else f", fold {self.fold}")

    @property
    def output_dir(self) -> Path:
        """Output folder of the run."""
        return self.folder / "run"


@dataclass(frozen=True)
class Plan:
    """A whole comparison.

    Args:
        bundle: folder of the bundle.
        rows: lines of the table.
        seeds: of every row.
        overrides: what is changed in the bundle's config, for every run alike, as on the command line.
        threads: of each run; the same number for all, as it changes the last bits of a result.
        reference: name of the row that others are compared with.
        candidate: method that is compared with the best of the others.
        tasks: as run.json describes them.
        form: by row, what gives its networks the form that an earlier version's runs in the folder have.
        folds: of a cross-validation, None without one.
    """

    bundle: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    overrides: tuple[str, ...]
    threads: int
    reference: str
    candidate: str
    tasks: tuple[Mapping[str, Any], ...]
    form: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folds: int | None = None

    def fold_options(self, fold: int | None) -> tuple[str, ...]:
        """Return the options of a fold's runs, as on the command line."""
        return () if fold is None else ("--folds", str(self.folds), "--fold", str(fold))

    @property
    def fold_numbers(self) -> list[int | None]:
        """Folds in their order, [None] without a cross-validation."""
        return [None] if self.folds is None else list(range(self.folds))

    def runs(self, out: Path) -> Iterator[Run]:
        """Yield every run, seed by seed, so that a comparison that is stopped early has all rows of some seeds."""
        for seed, fold, row in itertools.product(self.seeds, self.fold_numbers, self.rows):
            folder = fold_folder(out / RUNS_FOLDER / row.name / f"seed{seed}", fold)
            commands = {step: self._command(step, row, seed, fold, folder / "run") for step in STEPS}
            yield Run(row, seed, folder, commands, fold)

    def _command(self, step: str, row: Row, seed: int, fold: int | None, output_dir: Path) -> tuple[str, ...]:
        configs = Path(self.bundle) / "configs"
        train, evaluate = (str(configs / name) for name in ("train.yaml", "evaluate.yaml"))
        files = train if step == STEPS[0] else f"['{train}','{evaluate}']"
        weighting = () if row.weighting is None else ("--weighting", row.weighting)
        tracked = any(argument.split("=")[0] == "--tracking" for argument in self.overrides)
        part = "" if fold is None else f"-fold{fold}"
        name = ("--run_name", f"{row.name}-seed{seed}{part}") if tracked else ()
        return (
            *("python", "-m", "monai.bundle", "run", step, "--config_file", files, "--bundle_root", self.bundle),
            *("--output_dir", str(output_dir), "--method", row.method, *weighting, "--seed", str(seed), *name),
            *self.fold_options(fold),
            *(*self.overrides, *row.overrides, *self.form.get(row.name, ()), "--resume", "True"),
        )


def command_text(run: Run, threads: int) -> str:
    """Format a run's commands as a script to repeat it from the folder in which the comparison was started."""
    lines = ["#!/bin/sh", "# From the folder in which the comparison was started.", "set -e"]
    lines += [f"export OMP_NUM_THREADS={threads}"] + [shlex.join(command) for command in run.commands.values()]
    return "\n".join(lines) + "\n"


def kept_threads(out: Path) -> int | None:
    """Return the number of threads that an earlier start of a comparison chose, None where there was none."""
    try:
        return int(json.loads((out / PLAN_FILE).read_text(encoding="utf-8"))["threads"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def began_before(rows: Sequence[Row], out: Path) -> bool:
    """Tell whether a comparison was begun by an earlier version, whose networks have another form."""
    plain = [row.name for row in rows if row.preset is None]
    files = [file for name in plain for file in (out / RUNS_FOLDER / name).glob(f"seed*/run/{RUN_FILE}")]
    return any(_joins_wide(read_json(file)) for file in files)


def _joins_wide(record: Any) -> bool:
    return isinstance(record, Mapping) and complete_record(record).get("decoder_options", {}).get("join") == "wide"


def save_plan(plan: Plan, out: Path) -> None:
    """Write compare.json, unless the folder belongs to another comparison.

    Rows and seeds may be added, or left out, later; everything else must stay.

    Raises:
        ConfigError: it does.
        DataError: compare.json cannot be read.
    """
    path = out / PLAN_FILE
    now = json.loads(json.dumps(asdict(plan)))
    if path.is_file():
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(path, None, f"it cannot be read ({error}).", "Give another --out.") from error
        strip = {key: value for key, value in saved.items() if key not in _FREE_TO_GROW}
        if found := differences(strip, {key: value for key, value in now.items() if key not in _FREE_TO_GROW}):
            reason = f"{out} holds another comparison: " + "; ".join(found) + "."
            raise ConfigError("--out", reason, "Give the same options, or another folder.")
        _check_rows(saved.get("rows", []), now["rows"], out)
    elif out.is_dir() and any(out.iterdir()):
        raise ConfigError("--out", f"{out} holds something else.", "Give a new or an empty folder.")
    write_json(now, path)


def _check_rows(saved: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]], out: Path) -> None:
    before = {row["name"]: row for row in saved}
    for row in now:
        if found := differences(before.get(row["name"], row), row):
            raise ConfigError("--out", f"{out} has another {row['name']}: {'; '.join(found)}.", "Give another folder.")
