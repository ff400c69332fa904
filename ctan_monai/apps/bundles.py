"""Bundles from Python: what ``ctan-monai new`` and ``python -m monai.bundle run`` do on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.config_values import refuse_code
from ctan_monai.errors import ConfigError, find_ctan_error
from ctan_monai.tasks import Task, check_tasks

_SAME_AS_TRAINED = ("method", "encoder")  # entries of train.yaml that must be those of the run


def create_bundle(
    name: str,
    tasks: Sequence[Task],
    image: str = "",
    spatial_dims: int = 2,
    out: str | Path = ".",
    label_values: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
) -> Path:
    """Write a bundle for a tabular dataset, as ``ctan-monai new`` does.

    It can be trained at once, on synthetic cases; a table of yours is the option ``datalist`` of `train`.

    Args:
        name: of the bundle, and of its folder.
        tasks: what is predicted; their names and those of their labels are columns of the table.
        image: 'rgb' or 'gray' images, 'ct' or 'mr' volumes; 'mr:t1,flair' names channels. '': rgb in 2D, ct in 3D.
        spatial_dims: of the network; 2: images, or slices of volumes; 3: volumes.
        out: folder in which the bundle gets one of its name.
        label_values: by task, the numbers of each label in label maps that do not count from 1.

    Returns:
        The bundle's folder.

    Raises:
        ConfigError: a name cannot be used, the image's kind is unknown, or something is there already.
        DataError: it cannot be written.
    """
    from ctan_monai.apps.new_bundle import write_bundle
    from ctan_monai.apps.new_parts import Plan
    from ctan_monai.apps.new_tasks import new_task, parse_image

    found, numbers = check_tasks(tasks), label_values or {}
    if unknown := sorted(set(numbers) - {task.name for task in found}):
        raise ConfigError("label_values", f"{unknown} are no tasks.", f"Name some of {[task.name for task in found]}.")
    made = tuple(new_task(task, numbers.get(task.name)) for task in found)
    return write_bundle(Plan(name, made, parse_image(image, spatial_dims), spatial_dims), out)


def train(bundle: str | Path, **options: Any) -> Path:
    """Train a bundle's network, as ``python -m monai.bundle run training`` does.

    Args:
        bundle: its folder, which has ``configs/train.yaml``.
        options: entries of that config in place of its own: ``method="hps"``, ``epochs=50``, ``datalist="cases.csv"``,
            ``output_dir="runs/first"`` and so on; ``**{"optimizer#weight_decay": 0}`` for an inner one.

    Returns:
        The run's folder: ``model.pt``, ``metrics.json``, ``report.html`` and so on.

    Raises:
        ConfigError: the folder is no bundle, an option is unknown or has a value of the wrong kind.
        DataError: the data cannot be used.
        CheckpointError: resuming, and what is there is of another run, or damaged.
    """
    return Path(str(_run(bundle, ["train.yaml"], "training", options)["output_dir"]))


def evaluate(bundle: str | Path, run_dir: str | Path, **options: Any) -> dict[str, float]:
    """Evaluate a run on its test split, as ``python -m monai.bundle run evaluating`` does.

    Args:
        bundle: its folder.
        run_dir: the run's folder, as `train` returns it; tables and images go to its folder ``evaluation``.
        options: further entries of the configs.

    Returns:
        The metrics over all cases, as in ``summary.json``; nan where nothing was known.

    Raises:
        ConfigError: the folder is no bundle, or an option is unknown.
        DataError: the data cannot be used.
        CheckpointError: the run has no trained network, or one that does not fit the options.
    """
    from ctan_monai.engines.handlers.case_metrics_writer import SUMMARY_FILE

    given = {"output_dir": str(run_dir), **_of_run(run_dir), **options}
    found = _run(bundle, ["train.yaml", "evaluate.yaml"], "evaluating", given)
    summary = json.loads((Path(str(found["evaluation_dir"])) / SUMMARY_FILE).read_text(encoding="utf-8"))
    return {name: float("nan") if value is None else float(value) for name, value in summary["metrics"].items()}


def predict(bundle: str | Path, run_dir: str | Path, source: str | Path | None = None, **options: Any) -> Path:
    """Predict new images with a run's network, as ``python -m monai.bundle run inferring`` does.

    Args:
        bundle: its folder.
        run_dir: the run's folder, as `train` returns it.
        source: an image, a folder of images, or a table, as ``--input``; None: sample or synthetic cases.
        options: further entries of ``configs/inference.yaml``, such as ``output_dir``.

    Returns:
        The folder with the predictions.

    Raises:
        ConfigError: the folder is no bundle, or an option is unknown.
        DataError: an image cannot be used.
        CheckpointError: the run has no trained network.
    """
    given = {"run_dir": str(run_dir), "input": source, **options}
    path = Path(bundle) / "configs" / "inference.yaml"
    if path.is_file() and "\nencoder:" in path.read_text(encoding="utf-8"):  # made by `new` before version 0.1
        given = {**_of_run(run_dir), **given}
    return Path(str(_run(bundle, ["inference.yaml"], "inferring", given, kind="infer")["output_dir"]))


def _of_run(run_dir: str | Path) -> dict[str, Any]:
    """Return the options by which a config builds the network of a run."""
    from ctan_monai.engines.runs.run_record import RUN_FILE
    from ctan_monai.files.json_files import read_json

    record = read_json(Path(run_dir) / RUN_FILE) or {}  # without one, loading the weights says what is missing
    return {name: record[name] for name in _SAME_AS_TRAINED if name in record}


def _run(
    bundle: str | Path, files: Sequence[str], run_id: str, options: Mapping[str, Any], kind: str = "train"
) -> dict[str, Any]:
    """Run config files of a bundle in this process; return the entries that name folders."""
    from monai.bundle import ConfigWorkflow

    from ctan_monai.engines.runs.config_copies import copy_configs
    from ctan_monai.engines.runs.manifest import CONFIGS_FOLDER
    from ctan_monai.engines.runs.option_checks import check_given
    from ctan_monai.engines.runs.run_folder import end_log

    folder = Path(bundle)
    refuse_code(str(folder), "bundle", "Write ./ before it.")
    paths = [folder / "configs" / file for file in files]
    for path in paths:
        if not path.is_file():
            raise ConfigError("bundle", f"{folder} has no configs/{path.name}.", "Name a bundle's folder.")
    given = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    given = {"bundle_root": str(folder), **given}
    check_given(given, paths)
    hook = sys.excepthook  # a config exchanges it, which is for programs, not for a library
    workflow = None
    try:
        workflow = ConfigWorkflow(
            [str(path) for path in paths], logging_file=False, run_id=run_id, workflow_type=kind, **given
        )
        workflow.initialize()
        folders = {
            name: workflow.parser.get_parsed_content(name)
            for name in ("output_dir", "evaluation_dir")
            if name in workflow.parser.config
        }
        if run_id == "training":  # the run's folder looks for them on the command line
            copy_configs(paths, Path(str(folders["output_dir"])) / CONFIGS_FOLDER)
        workflow.run()
    except Exception as error:  # MONAI wraps what a component raises
        known = find_ctan_error(error)
        if known is None or known is error:
            raise
        raise known from error
    finally:
        if workflow is not None:
            workflow.finalize()
        end_log()
        sys.excepthook = hook
    return folders
