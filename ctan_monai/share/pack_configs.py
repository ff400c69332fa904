"""Config files of a packed bundle: the bundle's own with a run's settings filled in, comments kept."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from ctan_monai.aliases import settings_under_all_names
from ctan_monai.config_values import refuse_code
from ctan_monai.engines.runs.parsed_config import option_names
from ctan_monai.engines.runs.run_record import MEMBERS, describe, differences
from ctan_monai.errors import ConfigError, find_ctan_error
from ctan_monai.files.json_files import as_json
from ctan_monai.networks import MultiTaskNetwork, create_network
from ctan_monai.networks.forms import complete_record, form_overrides
from ctan_monai.tasks import Task

INFERENCE, TRAIN = "inference.yaml", "train.yaml"
_LINE = re.compile(r"(?P<name>\w+):(?P<space> +)(?P<value>\S.*?)(?P<comment> +#.*)?")
# what the next user's data and machine decide
_OWN_MACHINE = {"dataset_dir", "datalist", "init_from", "add_data", "resume", "amp"}
_SPLIT = re.compile(r"(datalist|datalists#(?:split|divided)_as):.*/datalist\.json")  # which case was in which split
_COMMENT_COLUMN = 32
WEIGHTS_DIR = "$@bundle_root + '/models'"
_NETWORK = {"_target_", *inspect.signature(create_network).parameters}
_OF_SPLIT = " + ('' if @split == 'test' else '_' + @split)"
_ANSWERS_DIR, _EVALUATION_DIR = "$@bundle_root + '/eval/inference'", "$@bundle_root + '/eval/evaluation'"


def parsed(bundle: Path, config: str, entry: str, root: Path | None = None) -> Any:
    """Build an entry of a config, with no option given.

    Args:
        bundle: the bundle's folder.
        config: name of the file.
        entry: id of the entry.
        root: what the config takes for the bundle's folder; None: the folder.

    Raises:
        ConfigError: the config cannot be read, or has no such entry.
    """
    from monai.bundle import ConfigParser

    path = bundle / "configs" / config
    if not path.is_file():
        raise ConfigError("BUNDLE", f"{bundle} has no configs/{config}.", "Name the folder of a whole bundle.")
    try:
        parser = ConfigParser()
        parser.read_config(str(path))
        parser["bundle_root"] = str((root or bundle).resolve())
        if "pretrained" in parser.config:
            parser["pretrained"] = None  # nothing is downloaded to look at a config
        return parser.get_parsed_content(entry)
    except Exception as error:  # a config can name any function, and MONAI wraps what it raises
        found = find_ctan_error(error)
        if found is not None:
            raise found from None
        reason = f"its entry {entry} cannot be used ({type(error).__name__}: {error})."
        raise ConfigError(str(path), reason, "Correct it.") from error


def default_network(bundle: Path) -> MultiTaskNetwork:
    """Build the network of a bundle's training, with no option given."""
    network = parsed(bundle, TRAIN, "network_def")
    if not isinstance(network, MultiTaskNetwork):
        found = f"network_def is a {type(network).__name__ if isinstance(network, nn.Module) else repr(network)}."
        raise ConfigError(str(bundle / "configs" / TRAIN), found, "Use ctan_monai.networks.create_network.")
    return network


def default_settings(bundle: Path) -> dict[str, Any]:
    """Return the options of a bundle's training, with none given."""
    from monai.bundle import ConfigParser

    names = option_names(ConfigParser.load_config_file(str(bundle / "configs" / TRAIN)))
    settings: dict[str, Any] = as_json({name: parsed(bundle, TRAIN, name) for name in names})
    return settings


def form_of(bundle: Path, config: str, text: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config entries that build the network of a run in the run's form; see `form_overrides`."""
    network, definition = parsed(bundle, config, "network_def"), yaml.safe_load(text).get("network_def")
    if not isinstance(network, MultiTaskNetwork) or not isinstance(definition, Mapping):
        return {}  # `check_builds` says what is wrong
    return form_overrides(network, record, definition)


def check_builds(bundle: Path, record: dict[str, Any]) -> None:
    """Check that training and inference build the trained network with no option given.

    Raises:
        ConfigError: one does not; the message says what differs.
    """
    single = {name: value for name, value in record.items() if name != MEMBERS}  # what training trains
    for config, wanted in ((INFERENCE, record), (TRAIN, single)):
        if found := differences(wanted, describe(parsed(bundle, config, "network_def"))):
            raise ConfigError(
                f"BUNDLE, configs/{config}",
                "with the run's settings it builds another network than the one that was trained: "
                + "; ".join(found[:3])
                + ".",
                "Pack the bundle that it was trained with, with the changes to its configs (the run's folder has a "
                "copy of them in configs/).",
            )


def train_config(text: str, settings: Mapping[str, Any], name: str) -> str:
    """Return train.yaml with a run's options as its defaults.

    Args:
        text: of the file.
        settings: the options.
        name: the bundle's, which the comments call by its folder.
    """
    return _filled(at_home(text, name), _options_of(text, settings))


def evaluate_config(text: str, config: str, name: str, keeps_datalist: bool) -> str:
    """Return evaluate.yaml for the weights in models/.

    Args:
        text: of the file.
        config: train.yaml's text.
        name: the bundle's.
        keeps_datalist: the split is packed too.
    """
    by_split = re.search(r"(?m)^split:", text) is not None
    wanted = {"evaluation_dir": _EVALUATION_DIR + (_OF_SPLIT if by_split else "")}
    lines = []
    for line in _filled(at_home(text, name), wanted).splitlines():
        if _SPLIT.match(line) and not keeps_datalist:
            continue  # without it, the seed of the settings divides the data
        lines.append(line)
        if line.startswith("evaluation_dir:"):
            lines.append(_line("output_dir", WEIGHTS_DIR, "# the folder of a run, or that of the weights"))
            if re.search(r"^pretrained:", config, re.MULTILINE):
                lines.append(_line("pretrained", "null", "# the weights are there"))
    return "\n".join(lines) + "\n"


def inference_config(text: str, settings: Mapping[str, Any], name: str, record: Mapping[str, Any]) -> str:
    """Return inference.yaml for the weights in models/, with an entry for each task's output alone.

    Args:
        text: of the file.
        settings: the options of the training.
        name: the bundle's.
        record: run.json. Tasks and network, which a bundle's inference takes from its run, are written out: tools that
            load a packed bundle know no run.
    """
    wanted = {**_options_of(text, settings), "run_dir": WEIGHTS_DIR, "output_dir": _ANSWERS_DIR}
    filled = _filled(at_home(text, name), wanted)
    for entry, of_run in _entries_of(record).items():
        whole = re.search(rf"(?m)^{entry}:.*\n(?:[ -].*\n)*", filled)
        if whole and re.search(rf"\.run_{entry.removesuffix('_def')}\b", whole[0]):
            filled = filled.replace(whole[0], of_run)
    if "@encoder" not in filled:  # written out, so that the option would be ignored
        filled = re.sub(r"(?m)^encoder:.*\n", "", filled)
    entries = [
        f"network_{task}: {{_target_: ctan_monai.networks.SelectOutput, network: '@network_def', task: {task}}}"
        for task in (str(task["name"]) for task in record["tasks"])
        if f"network_{task}" not in yaml.safe_load(text)
    ]
    comment = "\n# one task's output alone, for tools that take a network with one output"
    return filled + "\n".join([comment, *entries]) + "\n"


def form_lines(entries: Mapping[str, Any]) -> str:
    """Append entries of the network's form to a config.

    >>> print(form_lines({"network_def#decoder_options": {"join": "wide"}}))
    <BLANKLINE>
    # the form of the network that was trained
    network_def#decoder_options: {join: wide}
    <BLANKLINE>
    """
    if not entries:
        return ""
    lines = [f"{name}: {_flow(value)}" for name, value in entries.items()]
    return "\n".join(["", "# the form of the network that was trained", *lines]) + "\n"


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


def _entries_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Format tasks and network of a run's record as entries of a config."""
    record = complete_record(record)
    tasks = [
        {"_target_": _target_of(task["kind"]), **{key: value for key, value in task.items() if key != "kind"}}
        for task in record["tasks"]
    ]
    entries = {"tasks": tasks, "network_def": _network_of(record)}
    if MEMBERS in record:
        members = [_network_of(complete_record(member)) for member in record[MEMBERS]]
        entries["network_def"] = {"_target_": "ctan_monai.engines.Ensemble", MEMBERS: members}
    return {
        name: yaml.safe_dump({name: value}, sort_keys=False, default_flow_style=None, width=110)
        for name, value in entries.items()
    }


def _network_of(record: Mapping[str, Any]) -> dict[str, Any]:
    network = {"_target_": "ctan_monai.networks.create_network", **record, "tasks": "@tasks"}
    network["network_options"] = {record.get("method"): record.get("network_options")}
    return {key: network[key] for key in network if key in _NETWORK}


def _options_of(text: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Select the settings that are plain options of a config, and format them as YAML."""
    config = yaml.safe_load(text)
    known = settings_under_all_names(settings)
    chosen = {name: value for name, value in known.items() if name in config and name not in _OWN_MACHINE}
    refuse_code(chosen, "settings.json")
    return {
        name: _flow(value)
        for name, value in chosen.items()
        if not isinstance(config[name], dict) or "_target_" not in config[name]  # others ask settings.json
    }


def _filled(text: str, wanted: Mapping[str, str]) -> str:
    """Replace values of top-level entries, and check that nothing else has changed.

    Args:
        text: YAML, each of these entries on one line.
        wanted: values by name, as YAML.

    Raises:
        ConfigError: an entry is missing, or not on one line.
    """
    before = yaml.safe_load(text)
    lines, missing = [], set(wanted)
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found and found["name"] in wanted:
            missing.discard(found["name"])
            if yaml.safe_load(found["value"]) != yaml.safe_load(wanted[found["name"]]):
                line = _line(found["name"], wanted[found["name"]], (found["comment"] or "").strip())
        lines.append(line)
    filled = "\n".join(lines) + "\n"
    expected = {**before, **{name: yaml.safe_load(value) for name, value in wanted.items()}}
    if missing or yaml.safe_load(filled) != expected:
        at = sorted(missing) or "one of " + str(sorted(wanted))
        raise ConfigError(
            "BUNDLE", f"its configs have no line of its own for {at}.", "Write `name: value` on one line."
        )
    return filled


def _line(name: str, value: str, comment: str) -> str:
    line = f"{name}: {value}"
    return f"{line:<{_COMMENT_COLUMN - 1}} {comment}" if comment else line


def at_home(text: str, name: str) -> str:
    r"""Rewrite the commands in a config's comments to start from the bundle's own folder.

    >>> at_home("# run bundles/own/configs/train.yaml\na: own/configs\n", "own")
    '# run configs/train.yaml\na: own/configs\n'
    """
    own = re.compile(rf"(bundles/)?\b{re.escape(name)}/(?=configs/)")
    return re.sub(r"(?m)^#.*$", lambda line: own.sub("", line[0]), text)


def _target_of(kind: str) -> str:
    """Return the path of a kind of task, which may come from outside of this package."""
    module = Task.kinds[kind].__module__
    return f"{'ctan_monai.tasks' if module.startswith('ctan_monai.tasks.') else module}.{kind}"
