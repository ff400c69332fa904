"""Pages of a packed bundle: README by the Model Zoo's template, and a model card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ctan_monai.share import pack_tables
from ctan_monai.share.pack_source import Trained
from ctan_monai.share.pack_tables import RunMetrics
from ctan_monai.tasks import task_from

_NO_WEIGHTS = re.compile(r"No\s+weights\s+are\s+shipped(\.|,\s+and)\s*")


def readme(
    metadata: Mapping[str, Any], page: str, trained: Trained, metrics: RunMetrics, vendored: bool, multi_gpu: bool
) -> str:
    """Create docs/README.md, in the order of the Model Zoo's pages.

    Args:
        metadata: of the packed bundle.
        page: the bundle's own README, of which data and limits are taken over unless the weights are of synthetic data.
        trained: the weights and their run.
        metrics: how good it is.
        vendored: the code is in scripts/.
        multi_gpu: there is a config for several GPUs.
    """
    tags = dict.fromkeys([*(entry["kind"] for entry in trained.record["tasks"]), "Multi-task"])
    about = "" if trained.synthetic else _deeper(section(page, "Data", "Your data"))
    parts = [
        f"# Model Overview\n\n**{metadata['name']}.** {_description(metadata, trained)}",
        f"Authors: {metadata.get('authors', '')}. Tags: "
        + ", ".join([*tags, str(_modality(metadata)), str(trained.record["method"]).upper()])
        + ".",
        "## Data\n\n" + _data(metadata, metrics),
        about,
        "### Preprocessing\n\n" + _sentence(metadata.get("image_classes", "See configs/inference.yaml")),
        "## Training configuration\n\n" + pack_tables.training(trained, metadata),
        "## Input\n\n" + pack_tables.inputs(metadata),
        "## Output\n\n" + pack_tables.outputs(metadata, trained),
        "## Performance\n\n" + performance(trained, metrics),
        _curves(trained),
        "## MONAI Bundle Commands\n\n" + _usage(vendored) + "\n\n" + pack_tables.commands(multi_gpu),
        "## System configuration\n\n" + _system(trained),
        "## Limitations\n\n" + _limits(metadata, page, trained, metrics),
        "# References\n\n" + "\n".join(f"* {entry}" for entry in metadata.get("references", [])),
        f"# License\n\n{_sentence(metadata.get('copyright', 'Not stated'))} Licensed as LICENSE says; data: "
        "[data_license.txt](data_license.txt).",
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _data(metadata: Mapping[str, Any], metrics: RunMetrics) -> str:
    return f"{metrics.trained_on}\n\n{_sentence('Source: ' + str(metadata.get('data_source', 'not stated')))}"


def _curves(trained: Trained) -> str:
    if trained.curves is None:
        return ""
    epochs = len(trained.history.get("epochs", []))
    what = f"training losses and validation metrics, Dice among them, over {epochs} epoch{'s' if epochs != 1 else ''}"
    return f"#### Training Loss and Dice\n\n![A graph of {what}]({trained.curves.name})"


def model_card(metadata: Mapping[str, Any], page: str, trained: Trained, metrics: RunMetrics) -> str:
    """Create docs/model_card.md: intended use, training data, metrics, limits."""
    weights = metadata["weights"]
    files = "\n".join(
        f"| `{name}` | {entry['bytes']} | `{entry['sha256']}` |" for name, entry in weights["files"].items()
    )
    settings = "\n".join(f"| `{name}` | `{value}` |" for name, value in trained.settings.items() if value is not None)
    parts = [
        f"# Model card: {metadata['name']}",
        f"Version {metadata['version']}. {metadata['description']}",
        "## Model\n\n" + _description(metadata, trained),
        "## Intended use\n\n" + _sentence(metadata.get("intended_use", "Research. Not for clinical use")),
        "## Training data\n\n" + f"{_data(metadata, metrics)} Terms: data_license.txt.",
        "## Metrics\n\n" + performance(trained, metrics),
        "## Limits\n\n" + _limits(metadata, page, trained, metrics),
        "## Settings of the training\n\n| option | value |\n|---|---|\n" + settings,
        f"## Files\n\n{weights['parameters']} parameters and statistics.\n\n"
        f"| file | bytes | SHA-256 |\n|---|---|---|\n{files}",
    ]
    return "\n\n".join(parts) + "\n"


def performance(trained: Trained, metrics: RunMetrics) -> str:
    """Create a table of metrics with the data and commands by which they were measured."""
    if not metrics.values:
        return "No metrics came with the weights. Measure them on your own data before you rely on anything."
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in metrics.values.items())
    given = "".join(f" --{name} {'FILE' if name == 'datalist' else 'DIR'}" for name in trained.given if name in _GIVEN)
    amp = " --amp True" if trained.settings.get("amp") else ""
    train = f"    python -m monai.bundle run training --config_file configs/train.yaml{amp}{given}"
    evaluate = (
        "    python -m monai.bundle run evaluating \\\n"
        f"        --config_file \"['configs/train.yaml','configs/evaluate.yaml']\"{amp}{given}"
    )
    commands = f"{train}\n{evaluate}" if metrics.evaluated else train
    return (
        f"Measured on {metrics.measured_on}:\n\n| metric | value |\n|---|---|\n{rows}\n\n"
        "The configs hold the settings of the training, so these are the commands that gave the metrics"
        f"{_seconds(trained)}. Other machines and versions give other last digits, and a training of few steps "
        f"other metrics.\n\n{commands}"
    )


_GIVEN = ("dataset_dir", "datalist")


def section(page: str, *titles: str) -> str:
    r"""Return the text of a page's first section with one of some headings, empty without one.

    >>> section("# A\n## Data\nwords\n### More\n## Next\n", "Data")
    'words\n### More'
    """
    for title in titles:
        found = re.search(rf"^## {re.escape(title)}\s*$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        if found:
            return found[1].strip()
    return ""


def _deeper(text: str) -> str:
    return re.sub(r"^### ", "#### ", text, flags=re.MULTILINE)


def _description(metadata: Mapping[str, Any], trained: Trained) -> str:
    record = trained.record
    tasks = "\n".join(f"* `{entry['name']}`: {task_from(entry).summary}" for entry in record["tasks"])
    kind = f"{record['method'].upper()} with a {record['encoder']} encoder, {record['spatial_dims']}D"
    return (
        f"{_sentence(metadata.get('task', metadata['description']))} Architecture: {kind}, {record['in_channels']} "
        f"input channels, {metadata['weights']['parameters'] / 1e6:.1f} million parameters, one output per task:"
        f"\n\n{tasks}"
    )


def _usage(vendored: bool) -> str:
    code = (
        "The code is in `scripts/`; the packages of `required_packages_version` must be installed. MONAI looks for it "
        "in the current folder: start there, or put this one in `PYTHONPATH`."
        if vendored
        else "The code is the package `ctan_monai` (metadata.json has the version), which is in no registry: run "
        "`pip install -e .` in a checkout of its repository."
    )
    return f"{code} From another folder, give `--bundle_root` the path of this one."


def _system(trained: Trained) -> str:
    known = {name: value for name, value in trained.versions.items() if name != "git" and value not in (None, "None")}
    versions = ", ".join(f"{name} {value}" for name, value in known.items())
    if not versions:
        return "Not known: the weights came without their run. CPU or CUDA; `--device` chooses."
    return f"Trained with: {versions}{_seconds(trained)}. Runs on CPU or CUDA; `--device` chooses."


def _seconds(trained: Trained) -> str:
    epochs = trained.history.get("epochs", [])
    total = sum(entry.get("seconds") or 0 for entry in epochs)
    length = f"{total / 60:.0f} minutes" if total >= 120 else f"{total:.0f} seconds"
    return f" ({len(epochs)} epoch{'s' if len(epochs) != 1 else ''} in {length})" if total else ""


def _limits(metadata: Mapping[str, Any], page: str, trained: Trained, metrics: RunMetrics) -> str:
    own = "" if trained.synthetic else _NO_WEIGHTS.sub("", _deeper(section(page, "Limits"))).strip()
    first = f"{_sentence(metadata.get('intended_use', 'Research. Not for clinical use'))} {metrics.trained_on}"
    return f"{first}\n\n{own}" if own else first


def _modality(metadata: Mapping[str, Any]) -> str:
    return str(metadata["network_data_format"]["inputs"]["image"].get("modality", ""))


def _sentence(text: Any) -> str:
    words = str(text).strip()
    words = words[:1].upper() + words[1:]
    return words if words.endswith(".") else f"{words}."
