"""Tables of a packed bundle's README: training, input, outputs, commands, and the metrics of its run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ctan_monai.errors import CheckpointError
from ctan_monai.share.pack_source import Trained
from ctan_monai.tasks import task_from

_BOOKKEEPING = ("selection", "complete_cases")
_OPTIONS = {
    "epochs": "Epochs",
    "batch_size": "Batch size",
    "learning_rate": "Learning rate",
    "weighting": "Weighting of the tasks' losses",
    "pretrained": "Pretrained encoder",
    "augment": "Fraction of augmented samples",
    "seed": "Seed",
}
_RUN = "python -m monai.bundle run"


@dataclass(frozen=True)
class RunMetrics:
    """Metrics of a run.

    Args:
        values: by name.
        measured_on: which cases, in words.
        prefix: in front of the names where the cases are not those of the test.
        trained_on: what the network was trained on, in words.
        evaluated: the metrics are an evaluation's, not those of the training's validation.
    """

    values: dict[str, float]
    measured_on: str
    prefix: str
    trained_on: str
    evaluated: bool


def metrics_of_run(trained: Trained) -> RunMetrics:
    """Return a run's metrics: those of its evaluation, else of the best epoch's validation, else none.

    Raises:
        CheckpointError: metrics.json, summary.json or data.json is not what a run writes.
    """
    try:
        return _metrics_of_run(trained)
    except (AttributeError, KeyError, TypeError) as error:
        reason = f"metrics.json, data.json or evaluation/summary.json is not what a run writes ({error!r})."
        raise CheckpointError("--weights", reason, "Restore it from a copy, or delete it.") from error


def _metrics_of_run(trained: Trained) -> RunMetrics:
    trained_on, kind = _trained_on(trained)
    if trained.members > 1:
        trained_on += (
            f" An ensemble of {trained.members} networks, whose mean answer inference gives; these are the data of the "
            "first. Training trains one network."
        )
    if values := _numbers(trained.evaluation.get("metrics")):
        cases = trained.evaluation.get("cases", "unknown number of")
        where = f"the {cases} case{'s' if cases != 1 else ''} of the test split{kind}"
        return RunMetrics(values, where, "", trained_on, True)
    epochs = {entry.get("epoch"): entry for entry in trained.history.get("epochs", [])}
    best = (trained.history.get("best") or {}).get("all") or {}
    if values := _numbers(epochs.get(best.get("epoch"), {}).get("validation")):
        where = f"the validation split{kind}, on which the epoch ({best['epoch']}) was chosen; no test was run"
        return RunMetrics(values, where, "validation_", trained_on, False)
    scores = {f"{task}_selection": entry.get("score") for task, entry in (trained.history.get("best") or {}).items()}
    if values := _numbers(scores, drop=()):
        where = f"the validation split{kind}, on which each task's best epoch was chosen; no test was run"
        return RunMetrics(values, where, "validation_", trained_on, False)
    return RunMetrics({}, "", "", trained_on, False)


def _numbers(metrics: Any, drop: tuple[str, ...] = _BOOKKEEPING) -> dict[str, float]:
    """Keep numbers, without selection scores."""
    if not isinstance(metrics, dict):
        return {}
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    return {
        name: round(float(value), 6)
        for name, value in numbers.items()
        if math.isfinite(value) and not (drop and name.startswith(drop))
    }


def _trained_on(trained: Trained) -> tuple[str, str]:
    """Describe the training data, with the words to add to a number of cases."""
    cases = (trained.data or {}).get("cases", {})
    counts = ", ".join(f"{number} for {split}" for split, number in cases.items())
    in_cases = f" ({counts})" if counts else ""
    if trained.synthetic:
        words = f"Synthetic data{in_cases}, computed by a program; they show no patient."
        return words + " Metrics on them say nothing about patients.", " of synthetic data"
    if "dataset_dir" in trained.given:
        return f"Data that were given as dataset_dir{in_cases}.", ""
    if trained.data is not None:
        return f"Data that were given{in_cases}.", ""
    if trained.history:
        return (
            "The sample that is part of the bundle: far too few cases for a network that is of use.",
            " of the sample",
        )
    return "Not known: the weights came without their run.", ""


def training(trained: Trained, metadata: Mapping[str, Any]) -> str:
    """Describe the training as a Markdown list."""
    record, image = trained.record, metadata["network_data_format"]["inputs"]["image"]
    size = " x ".join(str(side) for side in [image["num_channels"], *image["spatial_shape"]])
    lines = [
        f"Network: {str(record['method']).upper()}, encoder {record['encoder']}, {record['spatial_dims']}D",
        f"Actual Model Input: {size} (channels, rows, columns{', slices' if record['spatial_dims'] == 3 else ''})",
        f"AMP: {bool(trained.settings.get('amp'))}",
    ]
    lines += [
        f"{words}: {trained.settings[name]}"
        for name, words in _OPTIONS.items()
        if trained.settings.get(name) is not None
    ]
    lines.append(
        "Optimizer, loss of each task and schedule: `optimizer`, `loss`, `lr_scheduler` in `configs/train.yaml`"
    )
    return "\n".join(f"- {line}" for line in lines)


def inputs(metadata: Mapping[str, Any]) -> str:
    """Describe the network's input."""
    image = metadata["network_data_format"]["inputs"]["image"]
    channels = "\n".join(f"- {at}: {name}" for at, name in image["channel_def"].items())
    known = {
        "stored values": image.get("values"),
        "window (becomes 0 to 1)": image.get("windows"),
        "mean": image.get("mean"),
        "standard deviation": image.get("std"),
        "gray values": image.get("normalize"),
        "axes point to": image.get("axes"),
        "voxel size in mm, null for the image's own": image.get("spacing_mm"),
        "note": image.get("note"),
    }
    said = "; ".join(f"{name}: {value}" for name, value in known.items() if value is not None)
    count = len(image["channel_def"])
    return f"{count} channel{'s' if count != 1 else ''}:\n\n{channels}" + (f"\n\nOf each: {said}." if said else "")


def outputs(metadata: Mapping[str, Any], trained: Trained) -> str:
    """Describe the network's outputs and their names."""
    rows = []
    tasks = [task_from(entry) for entry in trained.record["tasks"]]
    for (name, entry), task in zip(metadata["network_data_format"]["outputs"].items(), tasks, strict=True):
        channels = ", ".join(f"{at} {text}" for at, text in entry["channel_def"].items())
        rows.append(f"| `{name}` | `{task.name}` | {channels} | {_answer(entry)} |")
    first = tasks[0]
    numbers = ""
    if first.masks:
        listed = ", ".join(f"{number} {label}" for number, label in enumerate(first.answer_names, start=1))
        over = " where they overlap, the later one;" if not first.exclusive else ""
        wrong = (
            " MONAI Label's own task for bundles calls labels by their channels (`label_names`, from 0), not by these "
            "numbers: 3D Slicer, which goes by their order, names them rightly, OHIF does not: use the app for it that "
            "`ctan_monai label-app` writes."
            if not first.exclusive
            else ""
        )
        numbers = (
            f" `pred` is then one label map: 0 background, {listed};{over} each mask is under `{first.name}`.{wrong}"
        )
    return (
        "The network returns logits, one tensor for each task, under the task's name; MONAI's metadata calls the first "
        "of them `pred`.\n\n"
        "| in `metadata.json` | task, key of the network's output | channels | from logits to the answer |\n"
        "|---|---|---|---|\n" + "\n".join(rows) + "\n\nThe id `postprocessing` makes the answers, under the tasks' "
        f"names, on the grid of the image's file.{numbers}"
    )


def _answer(entry: Mapping[str, Any]) -> str:
    if "scale" in entry:
        least = f", at least {entry['minimum']:g}" if "minimum" in entry else ""
        return f"times {entry['scale']:g} {entry['unit']}{least}"
    if entry["threshold"] == "argmax":
        return f"{entry['activation']} over the channels; the most probable"
    if isinstance(entry["threshold"], str):
        return f"activation {entry['activation']}; {entry['threshold']}"
    return f"{entry['activation']} of each channel; at least {entry['threshold']:g}"


def commands(multi_gpu: bool) -> str:
    """Return the commands of a bundle, from its own folder."""
    train = "'configs/train.yaml'"
    parts = [("Execute training:", f"{_RUN} training --config_file configs/train.yaml --dataset_dir DIR")]
    if multi_gpu:
        both = f"\"[{train},'configs/multi_gpu_train.yaml']\""
        launcher = "torchrun --standalone --nnodes=1 --nproc_per_node=2 -m monai.bundle run training"
        parts.append(
            (
                "Override the `train` config to execute multi-GPU training:",
                f"{launcher} \\\n    --config_file {both} --dataset_dir DIR",
            )
        )
    parts += [
        (
            "Override the `train` config to execute evaluation with the trained model:",
            f"{_RUN} evaluating \\\n    --config_file \"[{train},'configs/evaluate.yaml']\" --dataset_dir DIR",
        ),
        ("Execute inference:", f"{_RUN} inferring --config_file configs/inference.yaml --input PATH"),
    ]
    blocks = "\n\n".join(f"#### {title}\n\n```\n{command}\n```" for title, command in parts)
    return (
        f"{blocks}\n\nTraining goes to `runs/` and leaves `models/` alone; `--run_dir runs/NAME` (inference) and "
        "`--output_dir runs/NAME` (evaluation) use it. For tools that give a bundle an image (MONAI Label's "
        'BundleInferTask, MONAI Deploy): `{"image": PATH}` through the ids `preprocessing`, `inferer` with '
        "`network_def`, `postprocessing` of `configs/inference.yaml`. One output alone, for tools that take one: "
        "`network_<task>`. More: [bundle.md](bundle.md)."
    )
