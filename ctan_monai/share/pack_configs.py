"""A bundle's config files with the settings of a run filled in, their comments kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ctan_monai.config_values import refuse_code
from ctan_monai.errors import ConfigError

_LINE = re.compile(r"(?P<name>\w+):(?P<space> +)(?P<value>\S.*?)(?P<comment> +#.*)?")
_OWN_MACHINE = {"dataset_dir", "datalist", "resume", "amp"}  # what the next user's data and machine decide
_DIVISION = re.compile(r"(datalist|datalists#divided_as):.*/datalist\.json")  # which case was in which split
_COMMENT_COLUMN = 32
WEIGHTS_DIR = "$@bundle_root + '/models'"
_ANSWERS_DIR, _EVALUATION_DIR = "$@bundle_root + '/eval/inference'", "$@bundle_root + '/eval/evaluation'"


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
    wanted = {"evaluation_dir": _EVALUATION_DIR}
    lines = []
    for line in _filled(at_home(text, name), wanted).splitlines():
        if _DIVISION.match(line) and not keeps_datalist:
            continue  # without it, the seed of the settings divides the data
        lines.append(line)
        if line.startswith("evaluation_dir:"):
            lines.append(_line("output_dir", WEIGHTS_DIR, "# the folder of a run, or that of the weights"))
            if re.search(r"^pretrained:", config, re.MULTILINE):
                lines.append(_line("pretrained", "null", "# the weights are there"))
    return "\n".join(lines) + "\n"


def inference_config(text: str, settings: Mapping[str, Any], name: str, tasks: Sequence[str]) -> str:
    """Return inference.yaml for the weights in models/, with an entry for each task's output alone.

    Args:
        text: of the file.
        settings: the options of the training.
        name: the bundle's.
        tasks: their names.
    """
    wanted = {**_options_of(text, settings), "run_dir": WEIGHTS_DIR, "output_dir": _ANSWERS_DIR}
    filled = _filled(at_home(text, name), wanted)
    entries = [
        f"network_{task}: {{_target_: ctan_monai.networks.SelectOutput, network: '@network_def', task: {task}}}"
        for task in tasks
        if f"network_{task}" not in yaml.safe_load(text)
    ]
    comment = "\n# one task's output alone, for tools that take a network with one output"
    return filled + "\n".join([comment, *entries]) + "\n"


def form_lines(entries: Mapping[str, Any]) -> str:
    """Write entries of the network's form as lines at the end of a config.

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


def _options_of(text: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Choose the settings that are options with a value of their own in a config, and write them as YAML."""
    config = yaml.safe_load(text)
    chosen = {name: value for name, value in settings.items() if name in config and name not in _OWN_MACHINE}
    refuse_code(chosen, "settings.json")
    return {
        name: _flow(value)
        for name, value in chosen.items()
        if not isinstance(config[name], dict) or "_target_" not in config[name]  # others ask settings.json
    }


def _filled(text: str, wanted: Mapping[str, str]) -> str:
    """Replace values of top-level entries, and see that nothing else has changed.

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
    r"""Let the commands in a config's comments start from the bundle's own folder.

    >>> at_home("# run bundles/own/configs/train.yaml\na: own/configs\n", "own")
    '# run configs/train.yaml\na: own/configs\n'
    """
    own = re.compile(rf"(bundles/)?\b{re.escape(name)}/(?=configs/)")
    return re.sub(r"(?m)^#.*$", lambda line: own.sub("", line[0]), text)
