"""Pack bundles with trained weights for the MONAI Model Zoo."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ctan_monai.engines.predictions.operating_point import OPERATING_FILE
from ctan_monai.engines.runs.data_record import DATA_FILE
from ctan_monai.engines.runs.manifest import SETTINGS_FILE
from ctan_monai.engines.runs.run_record import RUN_FILE
from ctan_monai.errors import ConfigError, cannot_write
from ctan_monai.files.json_files import as_json
from ctan_monai.share import pack_configs, pack_docs, pack_files
from ctan_monai.share.image_format import image_format
from ctan_monai.share.pack_configs import INFERENCE, TRAIN, check_builds, form_of, parsed
from ctan_monai.share.pack_metadata import packed_metadata
from ctan_monai.share.pack_source import Trained, read_trained
from ctan_monai.share.pack_tables import metrics_of_run
from ctan_monai.share.vendor import vendor

EXPORTED = Path(__file__).with_name("exported.yaml")  # one for all bundles; a packed one has a copy
EVALUATE, DATALIST, MULTI_GPU = "evaluate.yaml", "datalist.json", "multi_gpu_train.yaml"
URL = "write-here-where-the-large-files-lie"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_NO_TERMS = "The terms of the data are not stated. State them here before you share these weights.\n"
_SYNTHETIC_TERMS = (
    "The weights in models/ were trained on synthetic data, which come with no terms. What follows is about the data "
    "that the bundle is made for.\n\n"
)
_OTHER_PAGE = (
    "> The page of the bundle in its repository. The metrics of the weights in `models/`, if there are any, stand in "
    "[README.md](README.md).\n\n"
)


@dataclass(frozen=True)
class Packed:
    """Files that were written.

    Args:
        folder: the bundle.
        archive: the same as a zip.
        large: files in it that are too large for the Model Zoo's repository.
        warnings: what whoever shares it should know.
    """

    folder: Path
    archive: Path
    large: tuple[str, ...]
    warnings: tuple[str, ...]


def pack_bundle(
    bundle: str | Path,
    weights: str | Path,
    out: str | Path,
    vendored: bool = False,
    url: str = URL,
    case_names: bool = False,
) -> Packed:
    """Pack a bundle to ``<out>/<bundle>/`` and ``<out>/<bundle>.zip``.

    Both are there as a whole or not at all, and what is there already is not touched. Paths of the training's machine
    are left out.

    Args:
        bundle: the bundle's folder.
        weights: the folder of a run, those of an ensemble as ``[a,b]``, or a file of weights.
        out: made if it is missing.
        vendored: put the code that the configs reach into ``scripts`` instead of depending on this package.
        url: where files over 25 MB will lie.
        case_names: also pack which case was in which split, where the cases are not synthetic.

    Raises:
        ConfigError: it is no bundle, the weights are not of its network, or something is there already.
        CheckpointError: the weights, or their run, cannot be read.
        DataError: a file cannot be read or written.
    """
    source, target = Path(bundle).resolve(), Path(out)
    name = source.name
    if not (source / "configs" / INFERENCE).is_file() or not _NAME.fullmatch(name):
        raise ConfigError("BUNDLE", f"{bundle} has no configs/{INFERENCE}.", "Name the folder of a bundle.")
    folder, archive = target / name, target / f"{name}.zip"
    for path in (folder, archive):
        if path.exists() or path.is_symlink():
            raise ConfigError("--out", f"{path} is there already.", "Give another folder, or move it away.")
    trained = read_trained(Path(weights), source)
    try:
        target.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{name}.part-", dir=target))
    except OSError as error:
        raise cannot_write(target, error, "the bundle cannot be written there") from error
    try:
        large, warnings = _write(source, trained, beside / name, vendored, url, case_names)
        pack_files.write_zip(beside / name, beside / archive.name)
        os.rename(beside / archive.name, archive)
        try:
            os.rename(beside / name, folder)
        except OSError:
            archive.unlink()
            raise
    except OSError as error:
        raise cannot_write(target, error, "the bundle cannot be written there") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError("BUNDLE", f"a file of {bundle} cannot be read ({error}).", "Correct it.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Packed(folder, archive, tuple(large), tuple(warnings))


def _write(
    source: Path, trained: Trained, folder: Path, vendored: bool, url: str, case_names: bool
) -> tuple[list[str], list[str]]:
    """Write a bundle's folder; return its large files and warnings."""
    pack_files.copy_bundle(source, folder)
    if not (folder / "LICENSE").is_file():
        raise ConfigError("BUNDLE", f"{source} has no LICENSE.", "Add one: the Model Zoo asks for it.")
    weights = pack_files.write_weights(trained.state, folder)
    keeps_datalist = trained.datalist is not None and (trained.synthetic or case_names)
    _write_records(trained, folder, keeps_datalist)
    configs = _configs(folder, trained, source.name, keeps_datalist)
    _write_texts(folder / "configs", configs)
    for config in (TRAIN, INFERENCE):
        configs[config] += pack_configs.form_lines(form_of(folder, config, configs[config], trained.record))
    _write_texts(folder / "configs", configs)
    check_builds(folder, trained.record)
    image_channels = [str(channel) for channel in parsed(folder, INFERENCE, "image_channels")]
    packages = None
    if vendored:
        others = {path.name: path.read_text(encoding="utf-8") for path in (folder / "configs").glob("*.yaml")}
        code = vendor(others, folder)
        configs, packages = code.configs, code.required
        _write_texts(folder / "configs", configs)
    inference = yaml.safe_load(configs[INFERENCE])
    _write_json(folder / "configs" / "inference.json", inference)  # monai.bundle.load reads nothing else
    metrics = metrics_of_run(trained)
    given = _metadata_of(folder)
    image = image_format(yaml.safe_load(configs[TRAIN]), trained.settings)
    metadata = packed_metadata(given, trained, image_channels, metrics, weights, packages, image)
    if vendored and code.optional:
        metadata["optional_packages_version"] = code.optional
    _write_json(folder / "configs" / "metadata.json", metadata)
    _write_pages(folder, metadata, trained, vendored)
    return pack_files.write_large_files(folder, url), _warnings(source, trained)


def _configs(folder: Path, trained: Trained, name: str, keeps_datalist: bool) -> dict[str, str]:
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted((folder / "configs").glob("*.yaml"))}
    if TRAIN not in texts:
        raise ConfigError("BUNDLE", f"it has no configs/{TRAIN}.", "Name the folder of a whole bundle.")
    texts.setdefault(EXPORTED.name, EXPORTED.read_text(encoding="utf-8"))
    changed = {
        TRAIN: pack_configs.train_config(texts[TRAIN], trained.settings, name),
        INFERENCE: pack_configs.inference_config(texts[INFERENCE], trained.settings, name, trained.record),
    }
    if trained.members > 1:
        texts.pop(EVALUATE, None)  # it evaluates what train.yaml trains, one network
        (folder / "configs" / EVALUATE).unlink(missing_ok=True)
    elif EVALUATE in texts:
        changed[EVALUATE] = pack_configs.evaluate_config(texts[EVALUATE], texts[TRAIN], name, keeps_datalist)
    return {other: pack_configs.at_home(text, name) for other, text in texts.items()} | changed


def _write_records(trained: Trained, folder: Path, keeps_datalist: bool) -> None:
    """Write the records that inference and evaluation read besides the weights."""
    models = folder / "models"
    _write_json(models / RUN_FILE, trained.record)
    _write_json(models / SETTINGS_FILE, trained.settings)
    if trained.data is not None:
        _write_json(models / DATA_FILE, {key: trained.data[key] for key in trained.data if trained.data[key] != {}})
    if trained.operating is not None:
        _write_json(models / OPERATING_FILE, trained.operating)
    if keeps_datalist and trained.datalist is not None:
        shutil.copyfile(trained.datalist, models / DATALIST)


def _write_pages(folder: Path, metadata: Mapping[str, Any], trained: Trained, vendored: bool) -> None:
    docs = folder / "docs"
    docs.mkdir(exist_ok=True)
    metrics = metrics_of_run(trained)
    own = docs / "README.md"
    page = own.read_text(encoding="utf-8") if own.is_file() else ""
    if page:
        (docs / "bundle.md").write_text(_OTHER_PAGE + page, encoding="utf-8")
    if trained.curves is not None:
        shutil.copyfile(trained.curves, docs / trained.curves.name)
    several = (folder / "configs" / MULTI_GPU).is_file()
    own.write_text(pack_docs.readme(metadata, page, trained, metrics, vendored, several), encoding="utf-8")
    card = pack_docs.model_card(metadata, page, trained, metrics)
    (docs / "model_card.md").write_text(card, encoding="utf-8")
    terms = docs / "data_license.txt"
    stated = terms.read_text(encoding="utf-8") if terms.is_file() else _NO_TERMS
    terms.write_text(_SYNTHETIC_TERMS + stated if trained.synthetic else stated, encoding="utf-8")


def _metadata_of(folder: Path) -> dict[str, Any]:
    path = folder / "configs" / "metadata.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError("BUNDLE, configs/metadata.json", f"it cannot be read ({error}).", "Correct it.") from error
    if not isinstance(content, dict):
        raise ConfigError("BUNDLE, configs/metadata.json", "it is no JSON object.", "Correct it.")
    return content


def _warnings(source: Path, trained: Trained) -> list[str]:
    found = []
    if trained.synthetic:
        found.append("The network was trained on synthetic data; the pages say so.")
    if not metrics_of_run(trained).evaluated:
        found.append("The run was not evaluated on its test split, so the pages have no test metrics.")
    if trained.newer:
        found.append("The weights are newer than the evaluation, whose metrics the pages have: evaluate again.")
    if not (source / "docs" / "data_license.txt").is_file():
        found.append("docs/data_license.txt does not say the terms of the data yet.")
    if trained.datalist is not None and not trained.synthetic:
        found.append("Names of cases are packed only with --case-names; without them, evaluation divides anew.")
    return found


def _write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(as_json(value), indent=4) + "\n", encoding="utf-8")
